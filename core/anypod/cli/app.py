"""The commands, their options and their help. What they do is in a module each."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from anypod.cli import exits, jobs, pools, programs, sessions, tasks
from anypod.cli.keys import keyed
from anypod.cli.options import (
    DEFAULT_POOL,
    DEFAULT_URL,
    Format,
    Lm,
    LogFormat,
    Output,
    Pool,
    Session,
    Url,
    Whole,
    complete_pool,
    complete_target,
    labels_of,
)
from anypod.cli.rows import Form

Target = Annotated[
    str,
    typer.Argument(
        metavar="FILE",
        help="A program's file or folder; a definition in YAML or JSON; or the id of a "
        "program, or id@revision, unless there is a file or folder of that name.",
        autocompletion=complete_target,
    ),
]


def make_app(began: float) -> typer.Typer:
    """``began`` is when the process did, by ``time.monotonic``."""
    app = typer.Typer(
        name="anypod",
        help="Create a program once; any ready worker of its pool runs it.",
        epilog=exits.EXPLAINED,
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    app.command("up")(_up(began))
    app.command("run")(keyed(_run))
    app.command("map")(keyed(_map))
    app.command("push")(keyed(_push))
    app.command("evaluate")(keyed(tasks.evaluate))
    app.command("optimize")(keyed(tasks.optimize))
    for group in (
        programs.make(),
        sessions.make(),
        jobs.make(),
        pools.make_workers(),
        pools.make_pools(),
    ):
        app.add_typer(group)
    app.command("top")(keyed(_top))
    return app


def _version(wanted: bool) -> None:
    if wanted:
        import anypod

        typer.echo(f"anypod {anypod.__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")
    ] = False,
) -> None:
    pass


def _up(began: float) -> Callable[..., None]:
    def up(
        file: Annotated[
            Path | None,
            typer.Option("--file", "-f", help="Manifest with one or more WorkerPools."),
        ] = None,
        workers: Annotated[
            int | None, typer.Option(min=1, max=1000, help="Workers of each pool.")
        ] = None,
        executors: Annotated[
            int | None, typer.Option(min=1, max=256, help="Executors of each worker.")
        ] = None,
        preload: Annotated[
            str | None,
            typer.Option(help="Modules that workers import at their start.", metavar="MOD,..."),
        ] = None,
        store: Annotated[
            str | None,
            typer.Option(help="etcd://HOST:PORT or sqlite:PATH. Default: in --dir.", metavar="URL"),
        ] = None,
        port: Annotated[
            int, typer.Option(min=0, max=65535, help="The gateway's; 0 for any free one.")
        ] = 8700,
        host: Annotated[
            str, typer.Option(help="The gateway's address. Others than loopback are not safe.")
        ] = "127.0.0.1",
        directory: Annotated[
            Path, typer.Option("--dir", help="For the store and what runs.")
        ] = Path(".anypod"),
        log_format: Annotated[
            LogFormat, typer.Option(help="Of what is said on stderr.")
        ] = LogFormat.TEXT,
    ) -> None:
        """Run a pool on this machine until Ctrl-C."""
        from anypod.cli.up import up_with

        up_with(
            began,
            manifest=file,
            workers=workers,
            executors=executors,
            preload=preload,
            store=store,
            port=port,
            host=host,
            directory=directory,
            log_format=log_format.value,
        )

    return up


def _run(
    target: Target,
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="name=value ...",
            help="Inputs: JSON, else text; @FILE for a file's text, @FILE.json for its JSON.",
        ),
    ] = None,
    id_: Annotated[
        str | None, typer.Option("--id", help="The program's id. Default: the file's name.")
    ] = None,
    entrypoint: Annotated[
        str | None,
        typer.Option(help="Function, or module:function. Default: as it is; of a new one, main."),
    ] = None,
    concurrency: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Of an async program: runs that share an executor. Default: as it is; of a new "
            "one, what its kind says.",
        ),
    ] = None,
    session: Session = None,
    timeout: Annotated[
        float | None, typer.Option(min=0.001, help="Seconds that it may take.")
    ] = None,
    stream: Annotated[
        bool, typer.Option("--stream", help="Print what it yields as it does so.")
    ] = False,
    lm: Lm = None,
    async_: Annotated[
        bool, typer.Option("--async", help="Do not wait; print the id of the job.")
    ] = False,
    priority: Annotated[
        int | None, typer.Option(help="Of a job, -100 to 100: higher ones go first.")
    ] = None,
    not_before: Annotated[
        str | None, typer.Option(metavar="TIME", help="When a job may begin.")
    ] = None,
    attempts: Annotated[
        int | None, typer.Option(min=1, max=10, help="Of a job, if it is idempotent.")
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option("--label", "-l", metavar="KEY=VALUE", help="To find a job by."),
    ] = None,
    webhook: Annotated[
        str | None, typer.Option(metavar="URL", help="Of a job: where its end is told.")
    ] = None,
    logs: Annotated[bool, typer.Option("--logs", help="Show what it prints, on stderr.")] = False,
    json_: Whole = False,
    output: Output = Format.TABLE,
    pool: Pool = DEFAULT_POOL,
    url: Url = DEFAULT_URL,
) -> None:
    """Run a program from a file, and print its outputs.

    The program is created, or gets a new revision, under the file's name. What a file of Python
    does not say stays as it is; a definition says all.
    """
    from anypod.cli.run import run, submit

    as_job = jobs.arguments(
        priority=priority,
        not_before=None if not_before is None else jobs.time_of(not_before),
        max_attempts=attempts,
        labels=labels_of(label) or None,
        webhook=webhook,
    )
    if as_job and not async_:
        raise exits.Usage(
            "--priority, --not-before, --attempts, --label and --webhook are for --async"
        )
    if async_:
        if stream or logs:
            raise exits.Usage("--stream and --logs are for who waits; see 'anypod jobs'")
        submit(
            target,
            inputs or [],
            as_job | jobs.arguments(session=session, timeout=timeout, lm=lm),
            url=url,
            pool=pool,
            id_=id_,
            entrypoint=entrypoint,
            concurrency=concurrency,
            whole=json_ or output is Format.JSON,
        )
        return
    run(
        target,
        inputs or [],
        url=url,
        pool=pool,
        id_=id_,
        entrypoint=entrypoint,
        concurrency=concurrency,
        session=session,
        timeout=timeout,
        stream=stream,
        whole=json_ or output is Format.JSON,
        lm=lm,
        logs=logs,
    )


def _map(
    target: Target,
    inputs: Annotated[
        str,
        typer.Argument(
            metavar="INPUTS",
            help="A file with an item each line: JSON, or CSV under a head of names; - for stdin.",
        ),
    ],
    id_: Annotated[
        str | None, typer.Option("--id", help="The program's id. Default: the file's name.")
    ] = None,
    entrypoint: Annotated[
        str | None,
        typer.Option(help="Function, or module:function. Default: as it is; of a new one, main."),
    ] = None,
    form: Annotated[
        Form | None, typer.Option("--format", help="Of INPUTS. Default: by its name; else jsonl.")
    ] = None,
    concurrency: Annotated[
        int | None,
        typer.Option(min=1, max=10_000, help="Items at once; at most what the pool runs."),
    ] = None,
    unordered: Annotated[
        bool, typer.Option("--unordered", help="Print items as they are done, as -o json.")
    ] = False,
    key: Annotated[
        str | None,
        typer.Option(help="What has been answered under it is not run again. Default: a new one."),
    ] = None,
    no_key: Annotated[
        bool,
        typer.Option("--no-key", help="Quicker, if items are; an interrupted run begins anew."),
    ] = False,
    session: Session = None,
    timeout: Annotated[
        float | None, typer.Option(min=0.001, help="Seconds that each item may take.")
    ] = None,
    lm: Lm = None,
    logs: Annotated[bool, typer.Option("--logs", help="Show what items print, on stderr.")] = False,
    output: Output = Format.TABLE,
    pool: Pool = DEFAULT_POOL,
    url: Url = DEFAULT_URL,
) -> None:
    """Run a program on each line of a file, and print a line with its outputs.

    A line stands for each item, in the order of the file: null for one that failed, of which
    stderr says why. With -o json a line has all that is known of its item.
    """
    from anypod.cli.map import map_

    if no_key and key is not None:
        raise exits.Usage("--key and --no-key cannot both be")
    map_(
        target,
        inputs,
        url=url,
        pool=pool,
        id_=id_,
        entrypoint=entrypoint,
        session=session,
        timeout=timeout,
        lm=lm,
        logs=logs,
        form=form,
        concurrency=concurrency,
        ordered=not unordered,
        key="" if no_key else key,
        whole=unordered or output is Format.JSON,
    )


def _push(
    target: Annotated[
        str,
        typer.Argument(
            metavar="FILE.py:NAME",
            help="A Python file, which is imported, and the name in it of a dspy.Module; "
            "NAME.PART for a part of it.",
        ),
    ],
    id_: Annotated[
        str | None, typer.Option("--id", help="The program's id. Default: the file's name.")
    ] = None,
    lm: Annotated[
        str | None,
        typer.Option(help="Of the pool's LMs. Default: the pool's default.", metavar="NAME"),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Print the program as YAML, and create nothing."),
    ] = False,
    output: Output = Format.TABLE,
    pool: Pool = DEFAULT_POOL,
    url: Url = DEFAULT_URL,
) -> None:
    """Make a program of kind dspy of a module of DSPy: signature, tools, demos and instructions.

    The program is created, or gets a new revision. Its LM is one of the pool's; no LM, key or
    pickle goes along. What no program can say is refused, with what to do.
    """
    from anypod.cli.push import push

    push(target, url=url, pool=pool, id_=id_, lm=lm, dry_run=dry_run, output=output)


def _top(
    once: Annotated[bool, typer.Option("--once", help="Print one frame.")] = False,
    interval: Annotated[float, typer.Option(min=0.1, help="Seconds between frames.")] = 1.0,
    output: Output = Format.TABLE,
    pool: Annotated[
        str | None,
        typer.Option(
            "--pool",
            envvar="ANYPOD_POOL",
            help="Only this pool.",
            metavar="NAME",
            autocompletion=complete_pool,
        ),
    ] = None,
    url: Url = DEFAULT_URL,
) -> None:
    """Watch workers, executors, queue and sessions."""
    from anypod.cli.top import top

    top(url, pool, once=once, interval=interval, output=output)

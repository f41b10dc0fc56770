"""From the files of a revision to an entry function that can be called.

A program is imported as a folder, by Python's own import system and under its modules' real
names. While it runs its modules are in ``sys.modules`` and its folder is first on ``sys.path``;
otherwise both are set aside, so that programs with equal module names do not meet.
"""

import importlib
import linecache
import logging
import shutil
import sys
import warnings
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from anypod.wire.messages import Code, Failure
from anypod_worker.runtime import failures, folders, interrupts
from anypod_worker.runtime.settings import Settings

_modules = sys.modules
"""The interpreter's own, whatever a program puts in its place."""


class InvalidProgram(Exception):
    """The program cannot be loaded; ``failure`` says why, for the one who wrote it."""

    def __init__(self, failure: Failure, *, interrupted: bool = False) -> None:
        super().__init__(failure.detail)
        self.failure = failure
        self.interrupted = interrupted
        """It was our interrupt that ended the import."""


def invalid(detail: str, **members: Any) -> InvalidProgram:
    text = failures.clean(detail)
    return InvalidProgram(Failure(type="invalid-program", detail=text, **members))


class _Shelf:
    """What a program has under its modules' names in a table of the process, while it is not its
    turn; and what others have there, while it is."""

    def __init__(self, table: dict[str, Any], names: list[str]) -> None:
        self._table = table
        self._names = names
        self._own: dict[str, Any] = {}
        self._foreign: dict[str, Any] = {}

    def put_in(self) -> None:
        for name in self._names:
            foreign = self._table.pop(name, None)
            if foreign is not None:
                self._foreign[name] = foreign
        self._table.update(self._own)

    def take_out(self) -> None:
        self._own.clear()
        for name in self._names:
            own = self._table.pop(name, None)
            if own is not None:
                self._own[name] = own
        self._table.update(self._foreign)
        self._foreign.clear()

    def clear(self) -> None:
        self._own.clear()


class LoadedProgram:
    """An imported revision; ``run`` activates and deactivates it itself."""

    def __init__(self, revision: str, directory: Path, modules: list[str]) -> None:
        self.revision = revision
        self.directory = directory
        self.entry: Callable[..., Any] = _not_loaded
        self.entrypoint = ""
        self.settings: Settings | None = None
        """How the import left the process, if it changed it: put back before each execution."""
        self.plan: Any = None
        """What ``signatures`` has found out about the entry function."""
        self._modules = _Shelf(_modules, modules)
        self._loggers = _Shelf(logging.root.manager.loggerDict, modules)
        self._path = str(directory)

    def activate(self) -> None:
        """Its modules are those that ``import`` finds, its folder is first on the path, and the
        loggers with its modules' names are its own."""
        self._modules.put_in()
        self._loggers.put_in()
        sys.path.insert(0, self._path)

    def deactivate(self) -> None:
        """All that is set aside, and what others had in its place is back."""
        self._modules.take_out()
        self._loggers.take_out()
        path = getattr(sys, "path", None)  # the program may have taken it away
        if isinstance(path, list) and self._path in path:
            path.remove(self._path)

    def close(self) -> None:
        """Forget its modules and remove its folder."""
        self._modules.clear()
        self._loggers.clear()
        self.entry, self.plan = _not_loaded, None
        for cache in (sys.path_importer_cache, linecache.cache):
            for path in [path for path in cache if path.startswith(self._path)]:
                del cache[path]
        shutil.rmtree(self.directory, ignore_errors=True)


def _not_loaded() -> None:
    raise RuntimeError("this program is not loaded")


def _syntax_error(error: SyntaxError, directory: Path) -> InvalidProgram:
    name = str(error.filename).removeprefix(f"{directory}/")
    return invalid(
        f"{name}, line {error.lineno}: {error.msg}",
        exception=failures.name_of(error),
        message=failures.clean(str(error.msg)),
        line=error.lineno,
    )


def _import_failed(name: str, error: BaseException, directory: Path) -> InvalidProgram:
    """What importing the module raised, as the failure of the program."""
    if isinstance(error, SyntaxError) and str(error.filename).startswith(f"{directory}/"):
        return _syntax_error(error, directory)
    if isinstance(error, SystemExit):
        detail = f"{name!r} calls sys.exit({error.code!r}) while it is imported"
    else:
        detail = f"importing {name!r} failed: {failures.describe(error)}"
    return invalid(
        detail,
        exception=failures.name_of(error),
        message=failures.message_of(error),
        traceback=failures.traceback_of(error, directory),
        line=failures.own_line(error, directory),
    )


def _import(name: str, directory: Path) -> ModuleType:
    try:
        return importlib.import_module(name)
    except interrupts.Interrupted:
        raise
    except BaseException as error:  # noqa: BLE001 - an import may raise anything
        raise _import_failed(name, error, directory) from None


def _functions(module: ModuleType) -> str:
    names = [
        name
        for name, value in vars(module).items()
        if isinstance(value, FunctionType)
        and value.__module__ == module.__name__
        and not name.startswith("_")
    ]
    return ", ".join(names[:20]) or "none"


def _entry(module: ModuleType, function: str) -> Callable[..., Any]:
    value: Any = module
    for part in function.split("."):
        try:
            value = getattr(value, part)
        except Exception:  # noqa: BLE001 - a module may have a __getattr__ of its own
            raise invalid(
                f"there is no {function!r} in {module.__name__!r}; it has: {_functions(module)}"
            ) from None
    if not callable(value):
        kind = type(value).__name__
        raise invalid(
            f"{function!r} in {module.__name__!r} is not a function but a value of type {kind}"
            f"; there are: {_functions(module)}"
        )
    checked: Callable[..., Any] = value
    return checked


def _check_others(files: dict[str, str], directory: Path) -> None:
    """A syntax error in a file that the import did not reach is told now, not in mid-run."""
    modules = [_modules.get(name) for name in folders.module_names(files)]
    loaded = {getattr(module, "__file__", None) for module in modules}
    for path, text in files.items():
        full = f"{directory}/{path}"
        if not path.endswith(".py") or full in loaded:
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                compile(text, full, "exec", dont_inherit=True)
        except SyntaxError as error:
            raise _syntax_error(error, directory) from None
        except (ValueError, RecursionError, MemoryError) as error:
            raise invalid(f"{path}: {error}") from None


def _split(entrypoint: str) -> tuple[str, str]:
    module, colon, function = entrypoint.partition(":")
    parts = [*module.split("."), *function.split(".")]
    if not colon or not all(part.isidentifier() for part in parts):
        raise invalid(
            f"the entry point {entrypoint!r} is not of the form 'package.module:function'"
        )
    return module, function


def _imported(program: LoadedProgram, code: Code) -> None:
    module, function = _split(code.entrypoint)
    if module not in folders.module_names(code.files):
        found = ", ".join(sorted(code.files)[:20])
        raise invalid(f"there is no module {module!r} for the entry point; the files are: {found}")
    program.entry = _entry(_import(module, program.directory), function)
    program.entrypoint = code.entrypoint
    _check_others(code.files, program.directory)


def _interruptible(program: LoadedProgram, code: Code) -> None:
    """Import it as what runs now. Raises InvalidProgram."""
    execution = interrupts.Execution()
    try:
        with execution:
            _imported(program, code)
    except interrupts.Interrupted as error:
        interrupts.finish()
        failed = invalid(
            f"importing {code.entrypoint!r} did not end in time",
            traceback=failures.where(error, program.directory),
            line=failures.own_line(error, program.directory),
        )
        raise InvalidProgram(failed.failure, interrupted=True) from None
    except InvalidProgram as error:
        error.interrupted = execution.interrupted
        raise


def load(code: Code, revision: str, directory: Path) -> LoadedProgram:
    """Write the files to a new folder in ``directory`` and import the entry. Raises InvalidProgram.

    Interruptible (``interrupts``). It leaves the process as the import left it: restore the
    baseline after the execution or the check that needed it.
    """
    try:
        folder = folders.write(code.files, directory, revision[:12])
    except folders.BadFiles as error:
        raise invalid(str(error), line=error.line) from None
    program = LoadedProgram(revision, folder, folders.module_names(code.files))
    before = Settings.capture()
    writes_bytecode, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    program.activate()
    try:
        _interruptible(program, code)
    except InvalidProgram:
        program.close()
        raise
    finally:
        program.deactivate()
        sys.dont_write_bytecode = writes_bytecode
    after = Settings.capture()
    program.settings = after if after.differs(before) else None
    return program


class Programs:
    """The loaded revisions of this executor; the least recently used goes first.

    What goes loses its module globals. In the executor of a session, where they must survive,
    the limit is to be as high as the number of programs that a session may use.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._loaded: OrderedDict[str, LoadedProgram] = OrderedDict()

    def get(self, revision: str) -> LoadedProgram | None:
        program = self._loaded.get(revision)
        if program is not None:
            self._loaded.move_to_end(revision)
        return program

    def add(self, program: LoadedProgram) -> LoadedProgram:
        """Keep it, closing the oldest above the limit; returns it."""
        replaced = self._loaded.pop(program.revision, None)
        if replaced is not None:
            replaced.close()
        self._loaded[program.revision] = program
        while len(self._loaded) > self._limit:
            _, oldest = self._loaded.popitem(last=False)
            oldest.close()
        return program

    def __len__(self) -> int:
        return len(self._loaded)

// Command probe is a pod to look at a cluster with: it serves on port 8080, and calls others when told to.
//
//	probe                      serve its name and the time of its start, with a child process beside it
//	probe wait                 be that child: do nothing
//	probe fetch URL SECONDS    print what URL answers, or fail
//	probe eat MEBIBYTES        use so much memory
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"time"
)

func main() {
	switch {
	case len(os.Args) == 1:
		serve()
	case os.Args[1] == "wait":
		time.Sleep(1<<63 - 1)
	case os.Args[1] == "fetch" && len(os.Args) == 4:
		fetch(os.Args[2], number(os.Args[3]))
	case os.Args[1] == "eat" && len(os.Args) == 3:
		eat(int(number(os.Args[2])))
	default:
		fail("unknown arguments", os.Args[1:])
	}
}

func serve() {
	if err := exec.Command("/proc/self/exe", "wait").Start(); err != nil {
		fail(err)
	}
	started := time.Now().UnixNano()
	name, _ := os.Hostname()
	http.HandleFunc("/", func(answer http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(answer, "%s %d\n", name, started)
	})
	fail(http.ListenAndServe(":8080", nil))
}

func fetch(url string, seconds float64) {
	client := http.Client{Timeout: time.Duration(seconds * float64(time.Second))}
	answer, err := client.Get(url)
	if err != nil {
		fail(err)
	}
	defer answer.Body.Close()
	if _, err := io.Copy(os.Stdout, answer.Body); err != nil {
		fail(err)
	}
}

func eat(mebibytes int) {
	eaten := make([]byte, mebibytes<<20)
	for place := 0; place < len(eaten); place += 4096 {
		eaten[place] = 1
	}
	fmt.Println("ate", len(eaten))
}

func number(text string) float64 {
	value, err := strconv.ParseFloat(text, 64)
	if err != nil {
		fail(err)
	}
	return value
}

func fail(reasons ...any) {
	fmt.Fprintln(os.Stderr, reasons...)
	os.Exit(1)
}

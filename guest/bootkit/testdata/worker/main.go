// Command worker stands in for Tinkerbell's worker: it tells what it was given, and waits or fails.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"sort"
	"strconv"
	"syscall"
)

func main() {
	if len(os.Args) > 2 && os.Args[1] == "fail" {
		code, _ := strconv.Atoi(os.Args[2])
		fmt.Fprintln(os.Stderr, "cannot reach the server with", os.Getenv("REGISTRY_PASSWORD"))
		os.Exit(code)
	}
	env := os.Environ()
	sort.Strings(env)
	for _, each := range env {
		fmt.Println("env", each)
	}
	for _, path := range []string{"/worker/mark", "/var/run/docker.sock", "/dev/kmsg", "/run"} {
		_, err := os.Stat(path)
		fmt.Println("path", path, err == nil)
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	<-stop
}

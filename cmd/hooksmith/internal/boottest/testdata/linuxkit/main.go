//go:build linux

// Command linuxkit stands in for what cannot be had without a registry: as
// /init for linuxkit/init, elsewhere for the program of a container. It is
// written from LinuxKit's documentation and shares no code with hooksmith's own
// init, so that the two agree on the layout only if both read it alike.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"
)

func main() {
	if filepath.Base(os.Args[0]) != "init" {
		container()
		return
	}
	err := initSystem()
	if err == nil {
		say("init: all is up")
		err = shutdown()
	}
	say("init: error: %v", err)
	time.Sleep(time.Second) // for the serial line
	powerOff()
}

// say prints one line, in one write, so that lines of several programs do not
// mix.
func say(format string, args ...any) {
	fmt.Fprint(os.Stdout, "standin "+fmt.Sprintf(format, args...)+"\n")
}

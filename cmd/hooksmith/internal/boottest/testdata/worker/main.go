// Command worker stands in for Tinkerbell's worker in the boot tests. It tells
// on the console what it was given and what Docker says of itself, then does
// what WORKER_ACTION asks for.
package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"time"
)

func main() {
	// The worker's own output goes to Docker's log. It is privileged and has the
	// host's /dev, so the console can be written.
	out := io.Writer(os.Stdout)
	if console, err := os.OpenFile("/dev/console", os.O_WRONLY, 0); err == nil {
		out = io.MultiWriter(out, console)
	}
	say := func(format string, args ...any) { fmt.Fprintf(out, "testworker: "+format+"\n", args...) }

	say("started")
	env := os.Environ()
	slices.Sort(env)
	for _, e := range env {
		say("env %s", e)
	}
	host, _ := os.Hostname()
	say("hostname %s", host)
	info, err := dockerInfo()
	if err != nil {
		say("docker error: %v", err)
	}
	for _, key := range []string{`"Driver"`, `"CgroupVersion"`, `"Backing Filesystem"`, `"ServerVersion"`, `"RegistryConfig"`} {
		if _, value, ok := strings.Cut(info, key); ok {
			say("docker %s%.60s", key, value)
		}
	}
	if os.Getenv("WORKER_ACTION") == "reboot" {
		say("asking for a reboot: %v", os.WriteFile("/worker/reboot", nil, 0o644))
		time.Sleep(time.Hour) // ended by the reboot
	}
	say("finished")
}

// dockerInfo asks the engine through the socket that bootkit binds.
func dockerInfo() (string, error) {
	conn, err := net.Dial("unix", "/var/run/docker.sock")
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET /info HTTP/1.0\r\nHost: docker\r\n\r\n"); err != nil {
		return "", err
	}
	b, err := io.ReadAll(io.LimitReader(conn, 1<<20))
	return string(b), err
}

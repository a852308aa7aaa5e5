package dockertest

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"testing"

	"hooksmith/guest/proctest"
)

// asApplet makes a test binary run an applet instead of its tests.
const asApplet = "HOOKGUEST_TEST_APPLET"

// Applet is the function of an applet.
type Applet func(ctx context.Context, args []string, stdout, stderr io.Writer) error

// Main is the TestMain of a package whose tests run applets as processes.
func Main(m *testing.M, applets map[string]Applet) {
	run, ok := applets[os.Getenv(asApplet)]
	if !ok {
		os.Exit(m.Run())
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// Start runs an applet of Main until the test ends, through the command wrap if there is one, whose only child it is then.
func Start(t *testing.T, applet string, wrap []string, args ...string) *proctest.Process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	command := append(append(append([]string{}, wrap...), self), args...)
	env := []string{asApplet + "=" + applet}
	if len(wrap) > 0 {
		return proctest.StartInner(t, env, command...)
	}
	return proctest.Start(t, env, command...)
}

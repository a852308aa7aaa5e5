package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"
)

// Exit codes of hooksmith.
const (
	exitOK          = 0
	exitFailure     = 1
	exitUsage       = 2
	exitInterrupted = 130 // 128 + SIGINT, as a shell reports it
)

// memoryLimit makes the garbage collector work harder before the heap grows
// past it: a build then needs a third less memory, for no measurable time.
// GOMEMLIMIT overrides it.
const memoryLimit = 224 << 20

func main() {
	if _, set := os.LookupEnv("GOMEMLIMIT"); !set {
		debug.SetMemoryLimit(memoryLimit)
	}
	os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is the whole program behind its arguments and streams. It returns the
// exit code: 0 done, 1 failed, 2 wrong usage, 130 interrupted by SIGINT,
// SIGTERM or the end of ctx. The first signal ends the context, so that what
// runs can clean up; a second one kills the process as usual.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)

	a := newApp(stdin, stdout, stderr, os.LookupEnv)
	root := newRoot(a)
	started := trackStart(root)
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	a.progress.Close()
	if err == nil {
		return exitOK
	}
	return a.report(cmd, explain(cmd, err, *started), ctx.Err() != nil)
}

// trackStart makes every command below root note that its own code was
// reached. An error before that point is cobra's: the command line was wrong.
func trackStart(root *cobra.Command) *bool {
	started := new(bool)
	for _, c := range tree(root) {
		runE := c.RunE
		if runE == nil {
			continue
		}
		c.RunE = func(cmd *cobra.Command, args []string) error {
			*started = true
			return runE(cmd, args)
		}
	}
	return started
}

// tree lists root and all commands below it, parents first.
func tree(root *cobra.Command) []*cobra.Command {
	all := []*cobra.Command{root}
	for _, c := range root.Commands() {
		all = append(all, tree(c)...)
	}
	return all
}

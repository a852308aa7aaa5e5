package initd

import (
	"context"
	"errors"
	"io"
	"os"
)

// workerArg makes this program the worker. PID 1 never takes it from its arguments, which the kernel fills with words of
// the command line that it does not know.
const workerArg = "--worker"

// resumeArg tells the worker that another one was there before it and has crashed.
const resumeArg = "--resume"

// Run is the applet `init`. As PID 1 it does not return.
func Run(ctx context.Context, args []string, _, _ io.Writer) error {
	switch {
	case os.Getpid() == 1:
		runPID1()
	case len(args) > 0 && args[0] == workerArg:
		return runWorker(ctx, len(args) > 1 && args[1] == resumeArg)
	}
	return errors.New("this is PID 1's program; see `service`, `reboot` and `poweroff`")
}

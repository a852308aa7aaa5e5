package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// hintError is an error that knows the user's next step. Libraries may bring
// their own: anything in the chain with a Hint method is printed.
type hintError struct {
	err  error
	hint string
}

func (e *hintError) Error() string { return e.err.Error() }
func (e *hintError) Unwrap() error { return e.err }
func (e *hintError) Hint() string  { return e.hint }

// withHint adds the next step to err; nil stays nil.
func withHint(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return &hintError{err, fmt.Sprintf(format, args...)}
}

// hintMissing adds the next step where a file is not there.
func hintMissing(err error, format string, args ...any) error {
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return withHint(err, format, args...)
}

// usageError marks an error of the command line that only the command's own
// code could see (two flags that exclude each other, a value out of range).
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// usagef makes an error with exit code 2 that points to the command's --help.
func usagef(format string, args ...any) error {
	return &usageError{fmt.Errorf(format, args...)}
}

// explain turns cobra's and pflag's errors into ours: all that comes before
// the command's own code started is a usage error, with a suggestion if a
// known name is near.
func explain(cmd *cobra.Command, err error, started bool) error {
	if started {
		return err
	}
	var unknownFlag *pflag.NotExistError
	if errors.As(err, &unknownFlag) {
		return &usageError{suggest(err, flagNames(cmd), "--", unknownFlag.GetSpecifiedName())}
	}
	var name string
	if _, scanErr := fmt.Sscanf(err.Error(), "unknown command %q", &name); scanErr == nil {
		return &usageError{suggest(fmt.Errorf("unknown command %q", name), commandNames(cmd), "", name)}
	}
	return &usageError{err}
}

// report prints err once and returns the exit code for it.
func (a *app) report(cmd *cobra.Command, err error, interrupted bool) int {
	if interrupted {
		printInterrupted(a.stderr, err)
		return exitInterrupted
	}
	fmt.Fprintf(a.stderr, "hooksmith: error: %s\n", strings.TrimSpace(err.Error()))
	var hinted interface{ Hint() string }
	if errors.As(err, &hinted) && hinted.Hint() != "" {
		fmt.Fprintf(a.stderr, "hint: %s\n", hinted.Hint())
	}
	var usage *usageError
	if errors.As(err, &usage) {
		fmt.Fprintf(a.stderr, "see %s --help\n", cmd.CommandPath())
		return exitUsage
	}
	return exitFailure
}

// printInterrupted leaves the reason out if it is only the interruption itself.
func printInterrupted(w io.Writer, err error) {
	if errors.Is(err, context.Canceled) {
		fmt.Fprintln(w, "hooksmith: interrupted")
		return
	}
	fmt.Fprintf(w, "hooksmith: interrupted: %v\n", err)
}

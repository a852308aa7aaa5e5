package oci

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// Runc is the container runtime.
type Runc struct {
	Bin   string   // path of runc
	Root  string   // where runc keeps its state: /run/runc
	State string   // where pid files and error logs go: /run/hooksmith
	Flags []string // further global flags, --debug
}

// Find returns the path of runc.
func Find() (string, error) {
	for _, p := range []string{"/usr/sbin/runc", "/usr/bin/runc", "/sbin/runc", "/bin/runc"} {
		if info, err := os.Stat(p); err == nil && info.Mode()&0o111 != 0 {
			return p, nil
		}
	}
	return "", errors.New("runc is missing: the init image needs it at /usr/sbin/runc or /usr/bin/runc")
}

// Start creates the container id from a bundle and starts it with its output going to out. It returns the pid of its
// first process, which becomes a child of PID 1. Left-overs of an earlier container of that id go first.
func (r Runc) Start(ctx context.Context, id string, b Bundle, out *os.File) (pid int, err error) {
	if _, err := os.Stat(filepath.Join(r.Root, id)); err == nil {
		if err := r.Delete(ctx, id); err != nil {
			return 0, err
		}
	}
	if !b.Runtime.betweenCreateAndStart() {
		// One run of runc less: it takes a tenth of a second where processors are slow.
		return r.create(ctx, id, b, out, "run", "--detach")
	}
	if pid, err = r.create(ctx, id, b, out, "create"); err != nil {
		return 0, err
	}
	if err = b.Runtime.between(pid); err == nil {
		_, err = r.command(ctx, id, nil, "start", id)
	}
	if err != nil {
		return 0, errors.Join(err, r.Delete(context.WithoutCancel(ctx), id))
	}
	return pid, nil
}

// create runs `runc create` or `runc run --detach`.
func (r Runc) create(ctx context.Context, id string, b Bundle, out *os.File, verb ...string) (int, error) {
	pidFile := filepath.Join(r.State, id+".pid")
	args := append(verb, "--bundle", b.Dir, "--pid-file", pidFile, id)
	if _, err := r.command(ctx, id, out, args...); err != nil {
		return 0, err
	}
	defer os.Remove(pidFile)
	text, err := os.ReadFile(pidFile)
	if err != nil {
		return 0, fmt.Errorf("reading the pid of %s: %w", id, err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid <= 1 {
		return 0, fmt.Errorf("reading the pid of %s: %s holds %.20q", id, pidFile, text)
	}
	return pid, nil
}

// Delete removes a container whatever its state, and kills what runs in it. One that does not exist is removed already.
func (r Runc) Delete(ctx context.Context, id string) error {
	_, err := r.command(ctx, id, nil, "delete", "--force", id)
	return err
}

// ExecArgs is the command line that runs a command inside a container.
func (r Runc) ExecArgs(id string, terminal bool, command []string) []string {
	args := []string{r.Bin, "--root", r.Root, "exec"}
	if terminal {
		args = append(args, "--tty")
	}
	return append(append(args, id), command...)
}

// command runs runc. out is the output of the container as well as runc's own, so errors are read from runc's log.
func (r Runc) command(ctx context.Context, id string, out *os.File, args ...string) ([]byte, error) {
	log := filepath.Join(r.State, id+".runc")
	defer os.Remove(log)
	global := append([]string{"--root", r.Root, "--log", log, "--log-format", "json"}, r.Flags...)
	cmd := exec.CommandContext(ctx, r.Bin, append(global, args...)...)
	var collected bytes.Buffer
	if out != nil {
		// A file, not a Writer: the container goes on writing after runc has ended.
		cmd.Stdout, cmd.Stderr = out, out
	} else {
		cmd.Stdout = &collected
	}
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("runc %s %s: %w", args[0], id, firstError(reason(log), err))
	}
	return collected.Bytes(), nil
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// reason is the last error in a log of runc.
func reason(log string) error {
	f, err := os.Open(log)
	if err != nil {
		return nil
	}
	defer f.Close()
	var found error
	records := json.NewDecoder(io.LimitReader(f, maxJSON))
	for {
		var record struct{ Level, Msg string }
		if err := records.Decode(&record); err != nil {
			return found
		}
		if record.Level == "error" || record.Level == "fatal" {
			found = errors.New(strings.TrimSpace(record.Msg))
		}
	}
}

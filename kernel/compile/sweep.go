package compile

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"

	"hooksmith/build/docker"
)

// workspaceLabel marks our containers with the process that made them.
const workspaceLabel = "hooksmith.workspace"

// owner is this process: host, id, and when it started, because ids are used
// again.
func owner() string {
	host, _ := os.Hostname() // without one, no other host has none either
	return fmt.Sprintf("%d %s %s", os.Getpid(), started(os.Getpid()), host)
}

// started is when a process started, in a form that is only compared; "" where
// that is not known.
func started(pid int) string {
	raw, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return "-"
	}
	// The name in brackets may hold anything; starttime is the 20th after it.
	fields := strings.Fields(string(raw[strings.LastIndexByte(string(raw), ')')+1:]))
	if len(fields) < 20 {
		return "-"
	}
	return fields[19]
}

// abandoned reports whether the process that made a container is one of this
// host that is no more.
func abandoned(label string) bool {
	text, rest, _ := strings.Cut(label, " ")
	start, host, ok := strings.Cut(rest, " ")
	pid, err := strconv.Atoi(text)
	here, _ := os.Hostname()
	if !ok || err != nil || pid <= 0 || host != here {
		return false
	}
	if now := started(pid); now != "-" {
		return now != start
	}
	return syscall.Kill(pid, 0) == syscall.ESRCH
}

// sweep removes the containers of dead processes of this host. Usually there
// are none, since a container ends when its process does.
func (b *Builder) sweep(ctx context.Context, d *docker.Daemon) error {
	all, err := d.ContainerList(ctx, container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("label", workspaceLabel))})
	if err != nil {
		return d.Explain(err)
	}
	for _, c := range all {
		if !abandoned(c.Labels[workspaceLabel]) {
			continue
		}
		b.log().Info("removing the container of a kernel build that was killed", "container", c.ID[:min(12, len(c.ID))])
		if err := removeContainer(ctx, d, c.ID); err != nil {
			return err
		}
	}
	return nil
}

// removeContainer returns when the container is gone, whoever removes it.
func removeContainer(ctx context.Context, d *docker.Daemon, id string) error {
	gone, errs := d.ContainerWait(ctx, id, container.WaitConditionRemoved)
	err := d.ContainerRemove(ctx, id, container.RemoveOptions{Force: true, RemoveVolumes: true})
	switch {
	case errdefs.IsNotFound(err):
		return nil
	case err != nil && !errdefs.IsConflict(err) && !strings.Contains(err.Error(), "already in progress"):
		return fmt.Errorf("removing container %s: %w", id, d.Explain(err))
	}
	select {
	case <-gone:
		return nil
	case err := <-errs:
		if err == nil || errdefs.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("removing container %s: %w", id, d.Explain(err))
	}
}

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

// owner is this process: its id, when it started, because ids are used again,
// and where.
func owner() string {
	return fmt.Sprintf("%d %s %s", os.Getpid(), started(os.Getpid()), place())
}

// place is where this process's id means something: the running kernel, the
// namespace of process ids in it, and the host's name, for people and for
// virtual machines that are copies of each other. Machines and containers of
// CI often have one name, and share a daemon. "": it cannot be told.
func place() string {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	namespace, err := os.Readlink("/proc/self/ns/pid") // pid:[4026531836]
	if err != nil {
		return ""
	}
	host, _ := os.Hostname() // without one, no other host has none either
	return fmt.Sprintf("%s %s %s", strings.TrimSpace(string(boot)), namespace, host)
}

// started is when a process started, in a form that is only compared; "-" where
// that is not known, as where /proc shows another namespace's processes.
func started(pid int) string {
	if self, err := os.Readlink("/proc/self"); err != nil || self != strconv.Itoa(os.Getpid()) {
		return "-"
	}
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

// abandoned reports whether the process that made a container lived in this
// place and is no more. One of any other place may live.
func abandoned(label, here string) bool {
	text, rest, _ := strings.Cut(label, " ")
	start, where, _ := strings.Cut(rest, " ")
	pid, err := strconv.Atoi(text)
	if err != nil || pid <= 0 || here == "" || where != here {
		return false
	}
	if syscall.Kill(pid, 0) == syscall.ESRCH {
		return true
	}
	now := started(pid)
	return now != "-" && start != "-" && now != start // the id was used again
}

// sweepFolders removes the files of dead processes. They are in nobody's way,
// so that it goes on without.
func (b *Builder) sweepFolders() {
	removed, err := Sweep(b.TempDir)
	if len(removed) > 0 {
		b.log().Info("removed the files of kernel builds that were killed", "folders", removed)
	}
	if err != nil {
		b.log().Warn("removing the files of kernel builds that were killed", "error", err)
	}
}

// sweep removes the containers of dead processes of this place. Usually there
// are none, since a container ends when its process does.
func (b *Builder) sweep(ctx context.Context, d *docker.Daemon) error {
	all, err := d.ContainerList(ctx, container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("label", workspaceLabel))})
	if err != nil {
		return d.Explain(err)
	}
	here := place()
	for _, c := range all {
		if !abandoned(c.Labels[workspaceLabel], here) {
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

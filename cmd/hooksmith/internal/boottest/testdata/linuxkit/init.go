//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const newRoot = "/mnt"

func owner(s *syscall.Stat_t) string { return fmt.Sprintf("%d:%d", s.Uid, s.Gid) }

// initSystem does what LinuxKit's init and rc.init do: it moves to a tmpfs,
// mounts, and starts the containers.
func initSystem() error {
	if err := switchRoot(); err != nil {
		return fmt.Errorf("moving to a tmpfs: %w", err)
	}
	for _, m := range [][4]string{
		{"proc", "/proc", "proc", ""}, {"sysfs", "/sys", "sysfs", ""}, {"devtmpfs", "/dev", "devtmpfs", ""},
		{"tmpfs", "/run", "tmpfs", "mode=755"}, {"tmpfs", "/tmp", "tmpfs", ""}, {"cgroup2", "/sys/fs/cgroup", "cgroup2", ""},
	} {
		if err := errors.Join(os.MkdirAll(m[1], 0o755), unix.Mount(m[0], m[1], m[2], 0, m[3])); err != nil {
			return fmt.Errorf("mounting %s: %w", m[1], err)
		}
	}
	if err := errors.Join(os.Mkdir("/run/resolvconf", 0o755), os.WriteFile("/run/resolvconf/resolv.conf", nil, 0o644)); err != nil {
		return err
	}
	// LinuxKit's root is shared, so that containers see later mounts.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		return err
	}
	if err := errors.Join(os.Setenv("PATH", "/usr/bin:/bin:/sbin:/usr/sbin"), loadOverlay(), volumes()); err != nil {
		return err
	}
	if motd, err := os.ReadFile("/etc/motd"); err == nil {
		say("init: motd %q", motd)
	}
	if err := runAll("/containers/onboot", true); err != nil {
		return err
	}
	return runAll("/containers/services", false)
}

// switchRoot copies the root file by file, hard links become files, as
// LinuxKit does.
func switchRoot() error {
	if err := errors.Join(os.MkdirAll(newRoot, 0o755), unix.Mount("tmpfs", newRoot, "tmpfs", 0, "size=80%")); err != nil {
		return err
	}
	err := filepath.WalkDir("/", func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == "/" {
			return err
		}
		if path == newRoot {
			return filepath.SkipDir
		}
		return copyOne(path, newRoot+path)
	})
	if err != nil {
		return err
	}
	return errors.Join(os.Chdir(newRoot), unix.Mount(".", "/", "", unix.MS_MOVE, ""), unix.Chroot("."), os.Chdir("/"))
}

func copyOne(from, to string) error {
	var s unix.Stat_t
	if err := unix.Lstat(from, &s); err != nil {
		return err
	}
	var err error
	switch s.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		err = os.MkdirAll(to, 0o755)
	case unix.S_IFLNK:
		var target string
		if target, err = os.Readlink(from); err == nil {
			err = os.Symlink(target, to)
		}
		return errors.Join(err, os.Lchown(to, int(s.Uid), int(s.Gid)))
	case unix.S_IFREG:
		err = copyContent(from, to)
	default:
		err = unix.Mknod(to, s.Mode, int(s.Rdev))
	}
	return errors.Join(err, os.Lchown(to, int(s.Uid), int(s.Gid)), unix.Chmod(to, s.Mode&0o7777))
}

func copyContent(from, to string) error {
	r, err := os.Open(from)
	if err != nil {
		return err
	}
	defer r.Close()
	w, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, r)
	return errors.Join(err, w.Close())
}

// loadOverlay loads the module if the kernel has it as one.
func loadOverlay() error {
	found, err := filepath.Glob("/lib/modules/*/kernel/fs/overlayfs/overlay.ko*")
	if err != nil || len(found) == 0 {
		return err
	}
	f, err := os.Open(found[0])
	if err != nil {
		return err
	}
	defer f.Close()
	flags := 0
	if filepath.Ext(found[0]) != ".ko" {
		flags = unix.MODULE_INIT_COMPRESSED_FILE
	}
	return unix.FinitModule(int(f.Fd()), "", flags)
}

// volumes mounts what containers bind. A volume without tmp is read-only.
func volumes() error {
	found, err := filepath.Glob("/containers/volumes/*")
	for _, v := range found {
		merged := v + "/merged"
		if _, e := os.Stat(v + "/tmp"); e == nil {
			err = errors.Join(err, os.Mkdir(v+"/tmp/upper", 0o755), os.Mkdir(v+"/tmp/work", 0o755),
				unix.Mount("overlay", merged, "overlay", 0, "lowerdir="+v+"/lower,upperdir="+v+"/tmp/upper,workdir="+v+"/tmp/work"))
			continue
		}
		err = errors.Join(err, os.MkdirAll(merged, 0o755), unix.Mount(v+"/lower", merged, "", unix.MS_BIND, ""),
			unix.Mount("", merged, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	}
	return err
}

// runtime is the part of runtime.json that these tests use.
type runtime struct {
	Mounts []struct {
		Destination, Type, Source string
		Options                   []string
	}
	Mkdir  []string
	BindNS struct{ Net, Mnt string }
}

// runAll prepares and runs the containers below dir by name: to their end, one
// after another, or all at once.
func runAll(dir string, toTheEnd bool) error {
	found, err := filepath.Glob(dir + "/*")
	if err != nil {
		return err
	}
	slices.Sort(found)
	for _, bundle := range found {
		name := filepath.Base(bundle)
		if err := prepare(bundle); err != nil {
			return fmt.Errorf("preparing %s: %w", bundle, err)
		}
		cmd := exec.Command("runc", "run", "--bundle", bundle, name)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		if toTheEnd {
			say("init: onboot %s: %v", name, cmd.Run())
			continue
		}
		if err := cmd.Start(); err != nil {
			return err
		}
		go cmd.Wait()
	}
	return nil
}

func prepare(bundle string) error {
	text, err := os.ReadFile(bundle + "/runtime.json")
	if err != nil {
		return err
	}
	var r runtime
	if err := json.Unmarshal(text, &r); err != nil {
		return err
	}
	for _, m := range r.Mounts {
		if err := mount(m.Source, m.Destination, m.Type, m.Options); err != nil {
			return fmt.Errorf("mounting %s: %w", m.Destination, err)
		}
	}
	for _, d := range r.Mkdir {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	return nil
}

func mount(source, at, kind string, options []string) error {
	var flags uintptr
	var data []string
	for _, o := range options {
		switch o {
		case "bind":
			flags |= unix.MS_BIND
		case "remount":
			flags |= unix.MS_REMOUNT
		case "private":
			flags |= unix.MS_PRIVATE
		case "ro":
			flags |= unix.MS_RDONLY
		default:
			data = append(data, o)
			if key, dir, _ := strings.Cut(o, "="); key == "upperdir" || key == "workdir" {
				if err := os.MkdirAll(dir, 0o755); err != nil {
					return err
				}
			}
		}
	}
	if flags&unix.MS_REMOUNT != 0 {
		return unix.Mount("", at, "", unix.MS_PRIVATE, "")
	}
	return errors.Join(os.MkdirAll(at, 0o755), unix.Mount(source, at, kind, flags, strings.Join(data, ",")))
}

// shutdown waits until a container asks for it by the file /run/shutdown.
func shutdown() error {
	for {
		if _, err := os.Stat("/run/shutdown"); err == nil {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	err := runAll("/containers/onshutdown", true)
	say("init: powering off")
	powerOff()
	return err
}

func powerOff() { _ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF) }

package serve

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// kept are the rights that the server needs: ports below 1024, and packets to
// machines that have no address yet.
var kept = []uintptr{unix.CAP_NET_BIND_SERVICE, unix.CAP_NET_RAW}

// RunAs replaces this process by program, run as another user with no rights
// but to bind ports below 1024 and to send raw packets. The state folder and
// what is in it become the user's. It returns only with an error.
func RunAs(name, state, program string, argv, env []string) error {
	uid, gid, err := ordinary(name)
	if err != nil {
		return err
	}
	if err := giveTo(state, uid, gid); err != nil {
		return fmt.Errorf("state: %w", err)
	}
	// Only this thread changes; execve makes it the whole process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := become(uid, gid); err != nil {
		return fmt.Errorf("becoming %s: %w", name, err)
	}
	if err := unix.Exec(program, argv, env); err != nil {
		return fmt.Errorf("running %s as %s: %w", program, name, err)
	}
	return nil
}

// CheckUser reports why RunAs could not become a user.
func CheckUser(name string) error {
	_, _, err := ordinary(name)
	return err
}

// ordinary finds a user, who must not be root.
func ordinary(name string) (uid, gid int, err error) {
	u, err := user.Lookup(name)
	if unknown := user.UnknownUserError(""); errors.As(err, &unknown) {
		return 0, 0, fmt.Errorf("user: there is no %s on this host", name)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("user: %w", err)
	}
	uid, err = strconv.Atoi(u.Uid)
	if err == nil && uid == 0 {
		return 0, 0, fmt.Errorf("user: %s is root", name)
	}
	gid, err2 := strconv.Atoi(u.Gid)
	if err := errors.Join(err, err2); err != nil {
		return 0, 0, fmt.Errorf("user: %w", err)
	}
	return uid, gid, nil
}

// giveTo makes a state folder and what is in it a user's. Links are not
// followed. A folder that does not look like a server's stays whose it is: to
// give away /etc, or somebody's home, by a slip is hard to mend.
func giveTo(dir string, uid, gid int) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(entries, isState) {
		if i := slices.IndexFunc(entries, isForeign); i >= 0 {
			return fmt.Errorf("%s has %s in it and is no server's state folder: name one of its own with --state", dir, entries[i].Name())
		}
	}
	for _, e := range entries {
		if err := os.Lchown(filepath.Join(dir, e.Name()), uid, gid); err != nil {
			return err
		}
	}
	return os.Lchown(dir, uid, gid)
}

// isState tells what only a server's state folder has.
func isState(e os.DirEntry) bool { return e.Name() == leasesName || e.Name() == timelineName }

// isForeign tells what no state folder has before the first start: a token or
// hardware data may be put there, and the cache is made before the rest.
func isForeign(e os.DirEntry) bool {
	ours := e.Type().IsRegular() && e.Name()[0] != '.' || e.IsDir() && (e.Name() == "cache" || e.Name() == "lost+found")
	return !ours
}

// become changes the calling thread: user, groups, and as ambient capabilities,
// which survive execve, those that are kept.
func become(uid, gid int) error {
	if err := unix.Prctl(unix.PR_SET_KEEPCAPS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("keeping capabilities: %w", err)
	}
	// The raw calls: those of package syscall change all threads.
	if _, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, 0, 0, 0); errno != 0 {
		return fmt.Errorf("leaving all groups: %w", errno)
	}
	g, u := uintptr(gid), uintptr(uid)
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESGID, g, g, g); errno != 0 {
		return fmt.Errorf("changing the group: %w", errno)
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, u, u, u); errno != 0 {
		return fmt.Errorf("changing the user: %w", errno)
	}
	return keepRights()
}

func keepRights() error {
	var bits uint32
	for _, c := range kept {
		bits |= 1 << c
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	data := [2]unix.CapUserData{{Effective: bits, Permitted: bits, Inheritable: bits}}
	if _, _, errno := unix.RawSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&data[0])), 0); errno != 0 {
		return fmt.Errorf("dropping capabilities: %w", errno)
	}
	for _, c := range kept {
		if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, c, 0, 0); err != nil {
			return fmt.Errorf("keeping capability %d: %w", c, err)
		}
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("forbidding new privileges: %w", err)
	}
	return nil
}

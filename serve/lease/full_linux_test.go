package lease

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// TestDiskFull runs diskFull in a process of its own, whose file system nobody
// else sees.
func TestDiskFull(t *testing.T) {
	const inside = "HOOKSMITH_LEASE_TEST_FULL"
	if dir := os.Getenv(inside); dir != "" {
		diskFull(t, dir)
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestDiskFull$", "-test.v")
	cmd.Env = append(os.Environ(), inside+"="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	out, err := cmd.CombinedOutput()
	switch {
	case bytes.Contains(out, []byte("--- SKIP")), errors.Is(err, syscall.EPERM):
		t.Skipf("no mount namespace to be had: %v %s", err, out)
	case err != nil || !bytes.Contains(out, []byte("--- PASS: TestDiskFull")):
		t.Errorf("%v\n%s", err, out)
	}
}

func diskFull(t *testing.T, dir string) {
	if err := syscall.Mount("none", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		t.Skip(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=512k"); err != nil {
		t.Skip(err)
	}
	path, ballast := filepath.Join(dir, "leases.db"), filepath.Join(dir, "ballast")
	c := newTestClock()
	s := openTest(t, path, c)
	had := map[string]string{}
	lease := func(i int) error {
		mac := fmt.Sprintf("02:00:00:00:%02x:%02x", i>>8, i&255)
		l, err := s.Bind(ctx, Lease{Client: Client{MAC: mac}, IP: address(0x0a100001 + uint32(i)), Prefix: campus.Prefix, Duration: time.Hour})
		if err == nil {
			had[mac] = l.IP.String()
		}
		return err
	}
	// 1. Until it is full, three times over; then room is made.
	for i := range 20 {
		if err := lease(i); err != nil {
			t.Fatal(err)
		}
	}
	next := 20
	for round := range 3 {
		fill(t, ballast, 64<<10)
		var err error
		for ; err == nil; next++ {
			if next > 100000 {
				t.Fatal("the disk does not get full")
			}
			err = lease(next)
		}
		if !errors.Is(err, syscall.ENOSPC) || !bytes.Contains([]byte(err.Error()), []byte(path)) {
			t.Fatalf("round %d: %v", round, err)
		}
		if st := s.Stats(); st.Failures == 0 || st.LastError == "" {
			t.Errorf("%+v", st)
		}
		// 2. What there is is served, what was refused is not taken.
		if got := mustOffer(t, s, "02:00:00:00:00:00", campus, ip("10.17.0.1")); got != ip("10.16.0.1") {
			t.Errorf("offer on a full disk: %v", got)
		}
		if l, ok := s.LookupIP(address(0x0a100001 + uint32(next-1))); ok {
			t.Errorf("a lease that was not written: %+v", l)
		}
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
		// 3. With room it writes again.
		for range 20 {
			if err := lease(next); err != nil {
				t.Fatalf("round %d, with room again: %v", round, err)
			}
			next++
		}
	}
	if st := s.Stats(); st.LastError != "" {
		t.Errorf("%+v", st)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openTest(t, path, c)
	for mac, a := range had {
		if l, ok := s.Lookup(mac, campus.Prefix); !ok || l.IP.String() != a {
			t.Errorf("%s had %s, now %+v", mac, a, l)
		}
	}
	// 4. A full disk at the start is an error with the file's name.
	s.Close()
	os.Remove(path)
	fill(t, ballast, 0)
	if _, err := Open(path, Options{}); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("opening on a full disk: %v", err)
	}
}

// fill takes what the disk has left, but for spare bytes.
func fill(t *testing.T, path string, spare int64) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	if info, err := f.Stat(); err != nil || f.Truncate(max(0, info.Size()-spare)) != nil {
		t.Fatal(err)
	}
}

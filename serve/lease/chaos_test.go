package lease

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
)

// childEnv makes the test binary a process that is to be killed.
const childEnv = "HOOKSMITH_LEASE_TEST_CHILD"

var campus = pool("10.16.0.0/12", "10.16.0.0", "10.31.255.255")

// TestMain: as a child, lease addresses for ever and say which.
func TestMain(m *testing.M) {
	if args := strings.SplitN(os.Getenv(childEnv), "=", 2); len(args) == 2 {
		os.Exit(child(args[0], args[1]))
	}
	os.Exit(m.Run())
}

func child(round, path string) int {
	s, err := Open(path, Options{})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if round[1]%2 == 1 {
		s.mu.Lock()
		s.journal.limit, s.journal.room = 8<<10, 8<<10 // is folded all the time
		s.mu.Unlock()
	}
	for worker := range 32 {
		go func() {
			for i := 0; ; i++ {
				mac := fmt.Sprintf("02:%02s:%02x:%02x:%02x:%02x", round, worker, i>>16&255, i>>8&255, i&255)
				a, err := s.Offer(Client{MAC: mac}, campus, netip.Addr{})
				if err == nil {
					_, err = s.Bind(ctx, Lease{Client: Client{MAC: mac}, IP: a, Prefix: campus.Prefix, Duration: time.Hour})
				}
				if err != nil {
					fmt.Fprintln(os.Stderr, err)
					os.Exit(1)
				}
				fmt.Fprintf(os.Stdout, "%s %s\n", mac, a) // one write, which the pipe keeps whole
			}
		}()
	}
	select {}
}

// TestKill: what was acknowledged before kill -9 is there afterwards.
func TestKill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "leases.db")
	leased := map[string]string{} // MAC to address
	for round := range 8 {
		count := 200 + 150*round
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%02d=%s", childEnv, round, path))
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewReader(out)
		for n := 0; ; n++ {
			if n == count {
				cmd.Process.Kill()
			}
			line, err := lines.ReadString('\n')
			if errors.Is(err, io.EOF) {
				break // acknowledged until the very end
			}
			mac, a, _ := strings.Cut(strings.TrimSpace(line), " ")
			leased[mac] = a
		}
		if cmd.Wait(); stderr.Len() > 0 || len(leased) < count {
			t.Fatalf("the child had %d leases: %s", len(leased), &stderr)
		}
		checkLeased(t, path, leased)
	}
}

func checkLeased(t *testing.T, path string, leased map[string]string) {
	t.Helper()
	s, err := Open(path, Options{LockTimeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for mac, a := range leased {
		if l, ok := s.Lookup(mac, campus.Prefix); !ok || l.IP.String() != a || l.State != Active {
			t.Fatalf("%s had %s, after kill -9 it has %+v", mac, a, l)
		}
	}
	t.Logf("%d leases acknowledged, %d found", len(leased), len(s.All()))
}

func TestLockedFile(t *testing.T) {
	s, _ := newTest(t)
	_, err := Open(s.path, Options{LockTimeout: time.Millisecond})
	if err == nil || !strings.Contains(err.Error(), s.path) || !strings.Contains(err.Error(), "another process") {
		t.Errorf("opened twice: %v", err)
	}
}

func TestForeignFiles(t *testing.T) {
	dir := t.TempDir()
	foreign := filepath.Join(dir, "timeline.db")
	db, err := bolt.Open(foreign, 0o600, &bolt.Options{NoFreelistSync: true})
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bolt.Tx) error { _, err := tx.CreateBucket([]byte("boots")); return err })
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	text := filepath.Join(dir, "text")
	os.WriteFile(text, bytes.Repeat([]byte("dhcpd.leases\n"), 2000), 0o600)
	os.WriteFile(filepath.Join(dir, "short"), []byte("x"), 0o600)
	for path, want := range map[string]string{
		foreign: "another program's database", text: "not a lease file", filepath.Join(dir, "short"): "not a lease file",
		dir: "is a directory", filepath.Join(dir, "no", "leases.db"): "no such file",
	} {
		before, _ := os.ReadFile(path)
		s, err := Open(path, Options{})
		if err == nil {
			s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
		if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
			t.Errorf("%s was changed", path)
		}
	}
}

func mustRead(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestDamagedFile cuts and scribbles over a file: Open says so or manages, and
// what it then says of a lease is true.
func TestDamagedFile(t *testing.T) {
	s, c := newTest(t)
	for i := range 500 {
		bind(t, s, fmt.Sprintf("02:00:00:00:%02x:%02x", i>>8, i&255), address(0x0a100000+uint32(i*7)), campus.Prefix, time.Hour)
	}
	s.Close()
	whole := mustRead(t, s.path)
	rnd := rand.New(rand.NewPCG(3, 4))
	refused := 0
	for i := range 80 {
		data := bytes.Clone(whole)
		if i%4 == 0 {
			data = data[:rnd.IntN(len(data))]
		} else {
			at := rnd.IntN(len(data) - 600)
			for j := range 1 + rnd.IntN(600) {
				data[at+j] = byte(rnd.Uint32())
			}
		}
		path := filepath.Join(t.TempDir(), "leases.db")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := open(path, Options{}, c.clock())
		if err != nil {
			refused++
			if !strings.Contains(err.Error(), path) {
				t.Errorf("the error does not name the file: %v", err)
			}
			continue
		}
		for _, l := range s.All() {
			n, _ := number(l.IP)
			k := int(n-0x0a100000) / 7
			if want := fmt.Sprintf("02:00:00:00:%02x:%02x", k>>8, k&255); l.MAC != want {
				t.Errorf("%v is said to be of %s", l.IP, l.MAC)
			}
		}
		s.Close()
	}
	t.Logf("%d of 80 damaged files were refused", refused)
}

// TestDamageWhileRunning: a disk that loses what was written gives errors, not
// a crash and not a hang.
func TestDamageWhileRunning(t *testing.T) {
	s, _ := newTest(t)
	for i := range 300 {
		bind(t, s, fmt.Sprintf("02:00:00:00:%02x:%02x", i>>8, i&255), address(0x0a100001+uint32(i)), campus.Prefix, time.Hour)
	}
	info, err := os.Stat(s.path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(s.path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(bytes.Repeat([]byte{0xff}, int(info.Size())-8192), 8192); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	s.journal.limit = 0 // not enough room: each transaction goes to the database
	s.mu.Unlock()
	for range 3 {
		_, err := s.Bind(ctx, Lease{Client: Client{MAC: macA}, IP: ip("10.17.0.1"), Prefix: campus.Prefix, Duration: time.Hour})
		if err == nil || !strings.Contains(err.Error(), s.path) {
			t.Errorf("Bind on a damaged file: %v", err)
		}
	}
	if l, ok := s.LookupIP(ip("10.16.0.1")); !ok || l.State != Active {
		t.Errorf("what is known is known no more: %+v", l)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

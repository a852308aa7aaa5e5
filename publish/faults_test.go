package publish_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hooksmith/publish"
	"hooksmith/publish/store"
)

// intact fails unless the old set or the new one stands, whole, and the old
// one below its id in any case.
func intact(t *testing.T, opt publish.Options, old, next string) {
	t.Helper()
	at := standing(t, opt, "", old, next)
	if at != old && at != next {
		t.Fatalf("what stands is %q", at)
	}
	if id := idOf(t, old); standing(t, opt, id+"/", old) != old {
		t.Error("the old set is not whole below its id")
	}
}

// heal publishes without faults, after which the new set has to stand.
func heal(t *testing.T, opt publish.Options, old, next string) {
	t.Helper()
	// A killed publisher's lock would end by itself in minutes.
	if !strings.HasPrefix(opt.Dest, "/") {
		must(t, publish.Unlock(t.Context(), opt))
	}
	_, err := publish.Publish(t.Context(), opt)
	must(t, err)
	if at := standing(t, opt, "", old, next); at != next {
		t.Fatalf("after another publish, %q stands", at)
	}
	whole(t, opt, "")
}

// TestCutUpload: the network goes away at every tenth of an upload.
func TestCutUpload(t *testing.T) {
	for _, kind := range servers[1:] {
		t.Run(kind.name, func(t *testing.T) {
			s := kind.start(t)
			old := newSet(t, 1, 1, 100_000)
			_, err := publish.Publish(t.Context(), s.options(old))
			must(t, err)
			measure := newCutter(t, s.addr, -1)
			next := newSet(t, 2, 1, 600_000)
			opt := s.options(next)
			opt.Dest = s.dest(measure.addr)
			_, err = publish.Publish(t.Context(), opt)
			must(t, err)
			total := measure.sent.Load()
			for _, tenth := range tenths(kind.name) {
				old, next = next, newSet(t, uint64(tenth)+3, 1, 600_000)
				opt = s.options(next)
				opt.Retry.Tries = 2
				opt.Dest = s.dest(newCutter(t, s.addr, max(1, total*tenth/10)).addr)
				if _, err := publish.Publish(t.Context(), opt); err == nil && tenth < 8 {
					t.Errorf("publishing succeeded though it was cut at %d tenths", tenth)
				}
				intact(t, s.options(next), old, next)
				heal(t, s.options(next), old, next)
			}
		})
	}
}

// tenths are where an upload is cut: everywhere to one kind of store, here and
// there to the others, unless there is time.
func tenths(kind string) []int64 {
	if slow || kind == "webdav" {
		return []int64{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}
	}
	return map[string][]int64{"s3": {0, 3, 6, 9}, "put": {2, 7}, "sftp": {4}}[kind]
}

// isSwitch tells a request that changes a stable name.
func isSwitch(r *http.Request) bool {
	name := path.Base(r.URL.Path)
	if r.Method == "MOVE" {
		name = path.Base(r.Header.Get("Destination"))
	} else if r.Method != http.MethodPut {
		return false
	}
	dir := path.Base(path.Dir(r.URL.Path))
	return (dir == "x" || dir == "dav" || dir == "put") && !strings.HasPrefix(name, ".")
}

// TestCutSwitch: the connection is cut at each step of a switch, before and
// after the server does it; once for a moment, once for good. With another
// kernel, a cut for good may leave two builds under the stable names: then the
// index says so, and the next command completes the switch.
func TestCutSwitch(t *testing.T) {
	for _, kind := range servers[1:4] {
		t.Run(kind.name, func(t *testing.T) {
			s := kind.start(t)
			old := newSet(t, 1, 1, 20_000)
			_, err := publish.Publish(t.Context(), s.options(old))
			must(t, err)
			seed := uint64(1)
			for step := range int64(7) {
				if kind.name != "webdav" && !slow && step%3 != 0 {
					continue // one goes through all
				}
				for _, f := range []fault{before, after} {
					for _, how := range []struct{ dead, sameKernel bool }{{false, false}, {true, true}, {true, false}} {
						if how.sameKernel == (f == after) && (how.dead || f == before) && kind.name != "webdav" && !slow {
							continue
						}
						seed++
						kernel := seed
						if how.sameKernel {
							kernel = 1
						}
						next := newSet(t, seed, kernel, 20_000)
						if how.sameKernel { // from a set with that kernel
							old = newSet(t, seed+1000, 1, 20_000)
							_, err := publish.Publish(t.Context(), s.options(old))
							must(t, err)
						}
						cutSwitch(t, s, old, next, step, f, how.dead, how.sameKernel)
						old = next
					}
				}
			}
		})
	}
}

func cutSwitch(t *testing.T, s *server, old, next string, step int64, f fault, dead, sameKernel bool) {
	t.Helper()
	var steps atomic.Int64
	m := newMeddler(t, s.addr, dead, func(r *http.Request) fault {
		if isSwitch(r) && steps.Add(1) == step+1 {
			return f
		}
		return pass
	})
	opt := s.options(next)
	opt.Dest = s.dest(m.addr)
	opt.Retry.Tries = 2
	_, err := publish.Publish(t.Context(), opt)
	if !dead && err != nil {
		t.Errorf("step %d: a connection lost once: %v", step, err)
	}
	opt = s.options(next)
	x, listErr := publish.List(t.Context(), opt)
	must(t, listErr)
	if dead && !sameKernel && x.Switching != nil && standing(t, opt, "", old, next) == "mixed" {
		if standing(t, opt, idOf(t, old)+"/", old) != old {
			t.Error("the old set is not whole below its id")
		}
	} else {
		intact(t, opt, old, next)
	}
	if err == nil {
		return
	}
	heal(t, opt, old, next)
}

// TestBusyServer: answers 500 and 503 with Retry-After now and then.
func TestBusyServer(t *testing.T) {
	for _, kind := range servers[1:3] {
		t.Run(kind.name, func(t *testing.T) {
			s := kind.start(t)
			var n atomic.Int64
			m := newMeddler(t, s.addr, false, func(*http.Request) fault {
				switch n.Add(1) {
				case 5, 17:
					return err500
				case 9:
					return err503
				}
				return pass
			})
			old := newSet(t, 1, 1, 20_000)
			opt := s.options(old)
			opt.Dest = s.dest(m.addr)
			begun := time.Now()
			_, err := publish.Publish(t.Context(), opt)
			must(t, err)
			if m.waits.Load() != 1 || time.Since(begun) < time.Second {
				t.Errorf("%d requests were told to wait a second; all took %s", m.waits.Load(), time.Since(begun))
			}
			whole(t, s.options(old), "")
			// For good: what stands stays.
			always := newMeddler(t, s.addr, false, func(r *http.Request) fault {
				if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "initramfs") {
					return err500
				}
				return pass
			})
			next := newSet(t, 2, 2, 20_000)
			opt = s.options(next)
			opt.Dest = s.dest(always.addr)
			if _, err := publish.Publish(t.Context(), opt); err == nil || !strings.Contains(err.Error(), "initramfs") {
				t.Errorf("publishing to a broken server: %v", err)
			}
			intact(t, s.options(next), old, next)
			heal(t, s.options(next), old, next)
		})
	}
}

// TestSlowServer: a server that takes its time for every answer is waited for.
func TestSlowServer(t *testing.T) {
	const delay = 60 * time.Millisecond
	for _, kind := range servers[1:3] {
		t.Run(kind.name, func(t *testing.T) {
			s := kind.start(t)
			var asked atomic.Int64
			m := newMeddler(t, s.addr, false, func(r *http.Request) fault {
				asked.Add(1)
				select { // the fault itself
				case <-time.After(delay):
				case <-r.Context().Done():
				}
				return pass
			})
			opt := s.options(newSet(t, 1, 1, 100_000))
			opt.Dest = s.dest(m.addr)
			begun := time.Now()
			_, err := publish.Publish(t.Context(), opt)
			must(t, err)
			if n, took := asked.Load(), time.Since(begun); n < 10 || took < time.Duration(n)*delay/10 {
				t.Errorf("%d slow answers in %s: the server was not slow", n, took)
			}
			whole(t, s.options(opt.From), "")
		})
	}
}

// TestInterrupted: the context ends in the middle of an upload.
func TestInterrupted(t *testing.T) {
	for _, kind := range servers {
		t.Run(kind.name, func(t *testing.T) {
			s := kind.start(t)
			old, next := newSet(t, 1, 1, 50_000), newSet(t, 2, 2, 900_000)
			_, err := publish.Publish(t.Context(), s.options(old))
			must(t, err)
			ctx, cancel := context.WithCancel(t.Context())
			opt := s.options(next)
			opt.RateLimit = 300_000 // three seconds at least
			opt.Observer = &onBegin{func(name string) { time.AfterFunc(100*time.Millisecond, cancel) }}
			if _, err := publish.Publish(ctx, opt); !errors.Is(err, context.Canceled) {
				t.Errorf("cancelled: %v", err)
			}
			intact(t, s.options(next), old, next)
			// The lock was given back: nothing has to be unlocked.
			_, err = publish.Publish(t.Context(), s.options(next))
			must(t, err)
			if at := standing(t, s.options(next), "", old, next); at != next {
				t.Errorf("%q stands", at)
			}
		})
	}
}

type onBegin struct{ f func(string) }

func (o *onBegin) Begin(name string, _ int64) publish.Task { o.f(name); return o }
func (o *onBegin) Add(int64)                               {}
func (o *onBegin) Done(error)                              {}

// TestKilled: kill -9 at moments all over a publish.
func TestKilled(t *testing.T) {
	if dest := os.Getenv("HOOKSMITH_TEST_PUBLISH_TO"); dest != "" { // the process that is killed
		_, err := publish.Publish(t.Context(), publish.Options{Dest: dest, From: os.Getenv("HOOKSMITH_TEST_PUBLISH_FROM"), RateLimit: 8_000_000})
		must(t, err)
		return
	}
	self, err := os.Executable()
	must(t, err)
	for _, kind := range servers[:2] {
		t.Run(kind.name, func(t *testing.T) {
			s := kind.start(t)
			old := newSet(t, 1, 1, 1_000_000)
			_, err := publish.Publish(t.Context(), s.options(old))
			must(t, err)
			for i := 0; i < 8; i++ {
				if kind.name == "s3" && !slow {
					i++
				}
				next := newSet(t, uint64(i)+2, 1, 1_000_000)
				cmd := exec.Command(self, "-test.run=^TestKilled$")
				cmd.Env = append(os.Environ(), "HOOKSMITH_TEST_PUBLISH_TO="+s.dest(s.addr), "HOOKSMITH_TEST_PUBLISH_FROM="+next)
				must(t, cmd.Start())
				time.AfterFunc(time.Duration(i)*60*time.Millisecond, func() { _ = cmd.Process.Kill() })
				_ = cmd.Wait()
				intact(t, s.options(next), old, next)
				heal(t, s.options(next), old, next)
				old = next
			}
		})
	}
}

// TestDiskFull: a folder on a small tmpfs, and the temporary space of nginx.
func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("hooksmith-test", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("needs the right to mount: %v", err)
	}
	t.Cleanup(func() { must(t, unix.Unmount(dir, 0)) })
	s := &server{dest: func(string) string { return filepath.Join(dir, "www") }}
	old, next := newSet(t, 1, 1, 300_000), newSet(t, 2, 2, 900_000)
	_, err := publish.Publish(t.Context(), s.options(old))
	must(t, err)
	if _, err := publish.Publish(t.Context(), s.options(next)); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("publishing to a full disk: %v", err)
	}
	intact(t, s.options(next), old, next)
	whole(t, s.options(old), "")
}

// TestRace: two publishers at once, a hundred times (to other stores than a
// folder with HOOKSMITH_SLOW=1). One set stands, whole; who was refused knows
// it.
func TestRace(t *testing.T) {
	for _, kind := range []struct {
		name  string
		start func(t testing.TB) *server
		times int
	}{{"folder", folderServer, 100}, {"s3", startS3, 20}, {"webdav", startNginx, 5}, {"sftp", startSSHD, 1}} {
		t.Run(kind.name, func(t *testing.T) {
			if slow {
				kind.times = 100
			}
			s := kind.start(t)
			sets := []string{newSet(t, 1, 1, 5_000), newSet(t, 2, 2, 5_000)}
			refused := 0
			for i := range kind.times {
				var wg sync.WaitGroup
				var errs [2]error
				for j, dir := range sets {
					opt := s.options(dir)
					wg.Go(func() { _, errs[j] = publish.Publish(t.Context(), opt) })
				}
				wg.Wait()
				won := ""
				for j, err := range errs {
					var busy *publish.BusyError
					switch {
					case err == nil:
						won += sets[j]
					case errors.As(err, &busy):
						refused++
					default:
						t.Fatalf("race %d: %v", i, err)
					}
				}
				at := standing(t, s.options(sets[0]), "", sets...)
				if at == "" || at == "mixed" || !strings.Contains(won, at) {
					t.Fatalf("race %d: %q stands; %v", i, at, errs)
				}
			}
			whole(t, s.options(sets[0]), "")
			t.Logf("%d of %d were refused", refused, 2*kind.times)
		})
	}
}

// TestOldLock: the lock of a publisher that was killed is taken over once it
// is old, by one.
func TestOldLock(t *testing.T) {
	s := startS3(t)
	opt := s.options(newSet(t, 1, 1, 1000))
	st, err := store.Open(t.Context(), opt.Dest, opt.Access)
	must(t, err)
	defer st.Close()
	record := `{"nonce":"00ff","by":"lost","until":"` + time.Now().Add(time.Minute).UTC().Format(time.RFC3339) + `"}`
	must(t, st.Create(t.Context(), ".hooksmith/publish.lock", []byte(record)))
	var busy *publish.BusyError
	if _, err := publish.Publish(t.Context(), opt); !errors.As(err, &busy) || busy.By != "lost" {
		t.Errorf("with a lock in force: %v", err)
	}
	opt.Now = func() time.Time { return time.Now().Add(time.Hour) }
	_, err = publish.Publish(t.Context(), opt)
	must(t, err)
}

package service

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hooksmith/guest/bootlog"
	"hooksmith/guest/oci"
	"hooksmith/guest/reaper"
)

// The tests need a PID 1 that reaps containers and tells their ends. TestMain makes this binary run itself twice: the
// outer process is that PID 1 (as a subreaper), the inner one runs the tests.
const innerRun = "HOOKGUEST_TEST_INNER"

var exits reaper.Exits

func TestMain(m *testing.M) {
	if os.Getenv(innerRun) != "" {
		go func() { _ = exits.Follow(os.NewFile(3, "exits")) }()
		os.Exit(m.Run())
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		panic(err)
	}
	reader, writer, err := os.Pipe()
	if err != nil {
		panic(err)
	}
	inner, err := os.StartProcess(os.Args[0], os.Args, &os.ProcAttr{
		Env: append(os.Environ(), innerRun+"=1"), Files: []*os.File{os.Stdin, os.Stdout, os.Stderr, reader},
	})
	if err != nil {
		panic(err)
	}
	ended := make(chan reaper.Exit)
	go reaper.Wait(ended)
	for e := range ended {
		if e.PID == inner.Pid {
			if e.Status != 0 {
				os.Exit(1)
			}
			return
		}
		_, _ = writer.Write(e.Encode())
	}
}

// fakeRunc does with plain processes what runc does with containers: the bundle's "script" is the container.
const fakeRunc = `#!/bin/sh
while [ $# -gt 0 ]; do case $1 in
	--root) root=$2; shift 2;;
	--log) log=$2; shift 2;;
	--log-format) shift 2;;
	*) break;;
esac; done
verb=$1; shift
case $verb in
run)
	bundle=$3 pidfile=$5 id=$6
	if [ -e $root/$id ]; then echo "{\"level\":\"error\",\"msg\":\"$id exists\"}" >> $log; exit 1; fi
	if [ ! -e $bundle/script ]; then echo '{"level":"error","msg":"no script"}' >> $log; exit 1; fi
	mkdir -p $root/$id
	# dash reaps children that end early; runc does not. So it begins when dash is gone.
	sh -c "while kill -0 $$ 2>/dev/null; do sleep 0.002; done; exec sh $bundle/script" &
	echo $! > $root/$id/pid; echo $! > $pidfile;;
delete)
	id=$2
	[ -e $root/$id/pid ] && kill -9 $(cat $root/$id/pid) 2>/dev/null
	rm -rf $root/$id;;
esac
exit 0
`

// lab is a Supervisor with a fake runc and what it has said.
type lab struct {
	*Supervisor
	t       *testing.T
	dir     string
	mu      sync.Mutex
	console bytes.Buffer
}

func (l *lab) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.console.Write(p)
}

func (l *lab) said() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.console.String()
}

func newLab(t *testing.T, change func(*Options)) *lab {
	t.Helper()
	dir := t.TempDir()
	runc := filepath.Join(dir, "runc")
	if err := os.WriteFile(runc, []byte(fakeRunc), 0o755); err != nil {
		t.Fatal(err)
	}
	l := &lab{t: t, dir: dir}
	o := Options{
		Runc:  oci.Runc{Bin: runc, Root: filepath.Join(dir, "state"), State: dir},
		Exits: &exits, LogDir: filepath.Join(dir, "log"),
		Log:     &bootlog.Log{Console: l, Now: func() time.Duration { return 0 }},
		Backoff: Backoff{Min: 20 * time.Millisecond, Max: 80 * time.Millisecond},
		Grace:   time.Minute,
	}
	if change != nil {
		change(&o)
	}
	l.Supervisor = New(o)
	return l
}

// bundle makes a container that runs script.
func (l *lab) bundle(name, script, annotations string) string {
	l.t.Helper()
	dir := filepath.Join(l.dir, "containers", name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		l.t.Fatal(err)
	}
	if script != "" {
		if err := os.WriteFile(filepath.Join(dir, "script"), []byte(script), 0o755); err != nil {
			l.t.Fatal(err)
		}
	}
	config := fmt.Sprintf(`{"annotations":{%s}}`, annotations)
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o644); err != nil {
		l.t.Fatal(err)
	}
	return dir
}

// expect waits until something holds.
func (l *lab) expect(what string, holds func() bool) {
	l.t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if holds() {
			return
		}
	}
	l.t.Fatalf("%s: did not happen; consoles:\n%s", what, l.said())
}

func (l *lab) expectSaid(text string) {
	l.t.Helper()
	l.expect(fmt.Sprintf("%q on the consoles", text), func() bool { return strings.Contains(l.said(), text) })
}

func (l *lab) info(name string) Info {
	for _, i := range l.List() {
		if i.Name == name {
			return i
		}
	}
	return Info{}
}

func (l *lab) log(name string) string {
	text, _ := os.ReadFile(filepath.Join(l.dir, "log", name+".log"))
	return string(text)
}

// alive says whether a process is there and not a zombie.
func alive(pid int) bool {
	out, err := exec.Command("ps", "-o", "stat=", "-p", fmt.Sprint(pid)).Output()
	return err == nil && !strings.HasPrefix(strings.TrimSpace(string(out)), "Z")
}

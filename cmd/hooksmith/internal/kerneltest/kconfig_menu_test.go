package kerneltest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

const vmConfig = "configs/kernel/vm-6.12.y-x86_64"

// configure is `hooksmith kernel-config` of the small kernel, in a folder of its own.
func (l *lab) configure(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	return l.command(t, append([]string{"kernel-config", "hook-vm-amd64", "--network", l.network, "--source", l.trimmed}, args...)...)
}

// TestKernelConfigMenu drives menuconfig as a person does: another size of the
// terminal, into a menu, down to an item, off with it, save, out.
func TestKernelConfigMenu(t *testing.T) {
	l := needLab(t)
	l.turn(t)
	cmd := l.configure(t)
	s := at(t, cmd, 80, 25)
	before := s.state()
	s.wait("Linux/x86", "General setup", "< Exit >")
	if s.state().Lflag == before.Lflag {
		t.Error("the terminal is not raw while menuconfig runs")
	}

	s.setSize(120, 40)
	s.until("menuconfig in the new size", func() bool { return boxWidth(s.term.String()) > 100 })

	s.move("General setup")
	s.press(keyEnter)
	s.wait("POSIX Message Queues")
	s.move("POSIX Message Queues")
	if !strings.Contains(s.row(), "[*] POSIX Message Queues") {
		t.Fatalf("the item is %q", s.row())
	}
	s.press(" ")
	s.wait("[ ] POSIX Message Queues")

	s.press(keyRight, keyRight, keyRight, keyEnter) // Select, Exit, Help, Save
	s.wait("Enter a filename")
	s.press(keyEnter)
	s.wait("configuration written to")
	s.press(keyEnter)
	s.wait("[ ] POSIX Message Queues")
	s.press("\x1b\x1b")
	s.wait("Memory Management options")
	s.press("\x1b\x1b")
	if code := s.exit(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if s.state() != before {
		t.Error("the terminal was not restored")
	}
	for _, want := range []string{" POSIX_MQUEUE y -> n", "-POSIX_MQUEUE_SYSCTL y", "2 symbols changed; written to " + vmConfig} {
		if !s.log.has(want) {
			t.Errorf("it did not print %q", want)
		}
	}
	got, err := os.ReadFile(filepath.Join(cmd.Dir, vmConfig))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(got), "CONFIG_POSIX_MQUEUE=y") || !strings.Contains(string(got), "CONFIG_OVERLAY_FS=") {
		t.Errorf("the file:\n%s", got)
	}
	if found := l.leftovers(t, cmd); len(found) > 0 {
		t.Errorf("left behind: %q", found)
	}
}

// boxWidth is how wide the frame of menuconfig is.
func boxWidth(text string) int {
	widest := 0
	for _, line := range strings.Split(text, "\n") {
		widest = max(widest, len([]rune(strings.TrimSpace(line))))
	}
	return widest
}

// TestKernelConfigAbort: a session that is not saved changes nothing, however
// it ends, and gives the terminal back.
func TestKernelConfigAbort(t *testing.T) {
	l := needLab(t)
	l.turn(t)
	for name, end := range map[string]func(s *screen) (code int){
		"Ctrl-C, then No": func(s *screen) int {
			s.press(keyCtrlC)
			s.wait("Do you wish to save your new configuration?")
			s.press(keyRight, keyEnter)
			return 0
		},
		"SIGTERM": func(s *screen) int {
			if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
				s.t.Fatal(err)
			}
			return 130
		},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := l.configure(t)
			s := at(t, cmd, 80, 25)
			before := s.state()
			s.wait("General setup", "< Exit >")
			s.move("Enable loadable module support")
			s.press(" ")
			s.wait("[ ] Enable loadable module support")
			want := end(s)
			if code := s.exit(); code != want {
				t.Errorf("exit code %d, want %d", code, want)
			}
			if s.state() != before {
				t.Error("the terminal was not restored")
			}
			if _, err := os.Stat(filepath.Join(cmd.Dir, vmConfig)); err == nil {
				t.Error("there is a file")
			}
			if want == 0 && !s.log.has("nothing changed: "+vmConfig+" stays as it is") {
				t.Error("it does not say so")
			}
			until(t, "the end of the container", func() bool { return len(l.leftovers(t, cmd)) == 0 })
		})
	}
}

// TestKernelConfigShell: a shell in the source, whose .config counts. Meanwhile
// somebody else makes the file: it stays, and ours is saved beside it.
func TestKernelConfigShell(t *testing.T) {
	l := needLab(t)
	l.turn(t)
	cmd := l.configure(t, "--shell")
	s := at(t, cmd, 100, 30)
	s.wait("/src/linux#")
	s.press("echo \"it is $((6 * 7)) $ARCH $(stty size)\"\r")
	s.wait("it is 42 x86_64 30 100")
	s.press("scripts/config --set-val NR_CPUS 77\r", "false\r", "exit\r")
	path := filepath.Join(cmd.Dir, vmConfig)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("CONFIG_OTHER=y\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if code := s.exit(); code != 1 {
		t.Errorf("exit code %d", code)
	}
	if !s.log.has(vmConfig+" was changed meanwhile: it is left as it is") || !s.log.has(" NR_CPUS 8 -> 77") {
		t.Error("it does not say so")
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "CONFIG_OTHER=y\n" {
		t.Errorf("the file is %q, %v", got, err)
	}
	saved, err := filepath.Glob(path + ".yours-*")
	if err != nil || len(saved) != 1 {
		t.Fatalf("saved: %q, %v", saved, err)
	}
	if got, err := os.ReadFile(saved[0]); err != nil || !strings.Contains(string(got), "CONFIG_NR_CPUS=77\n") {
		t.Errorf("what was saved:\n%s, %v", got, err)
	}
}

package qemutest

import (
	"hooksmith/cmd/hooksmith/internal/qemu"
	"os/exec"
	"testing"
)

// The harness against a shell instead of a machine.
func TestMachine(t *testing.T) {
	sh := exec.Command("sh", "-c", "echo 'Press Enter for a root shell.'; read -r _; exec sh 2>&1")
	v := Follow(t, qemu.AMD64, t.TempDir(), sh)
	v.Login()
	if got := v.Run("echo hello; printf partial"); got != "hello\npartial" {
		t.Errorf("run: %q", got)
	}
	v.Lacks("Oops")
	v.TypeLine("exit 3")
	v.WaitEnd()
	if got := v.Cmd.ProcessState.ExitCode(); got != 3 {
		t.Errorf("exit code %d", got)
	}
}

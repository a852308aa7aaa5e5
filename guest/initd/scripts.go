package initd

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"
)

// scriptLog has what the scripts print.
const scriptLog = "/var/log/init.d.log"

// ownWork are scripts of LinuxKit's images that do what this init does itself: run onboot containers, start containerd
// and the services, run onshutdown containers.
var ownWork = []string{"010-onboot", "020-containerd", "010-onshutdown"}

// scriptsIn lists the programs in a folder in name order.
func scriptsIn(dir string) []string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	var scripts []string
	for _, e := range entries {
		file := filepath.Join(dir, e.Name())
		info, err := os.Stat(file)
		if err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 && !slices.Contains(ownWork, e.Name()) {
			scripts = append(scripts, file)
		}
	}
	return scripts
}

// runScripts runs programs one after the other. One that fails is told and does not stop the others.
func (j *job) runScripts(ctx context.Context, scripts []string) {
	for _, script := range scripts {
		begin := time.Now()
		if err := runScript(ctx, script); err != nil {
			j.log.Printf("%s FAILED: %v after %v; log: %s", script, err, time.Since(begin).Round(time.Millisecond), scriptLog)
			continue
		}
		j.log.Printf("%s done in %v", script, time.Since(begin).Round(time.Millisecond))
	}
}

func runScript(ctx context.Context, script string) error {
	// A file and not a pipe: a script may leave a daemon behind.
	log, err := os.OpenFile(scriptLog, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o640)
	if err != nil {
		return err
	}
	defer log.Close()
	fmt.Fprintf(log, "== %s\n", script)
	cmd := exec.CommandContext(ctx, script)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Dir = "/"
	return cmd.Run()
}

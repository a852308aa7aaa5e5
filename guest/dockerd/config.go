package dockerd

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"hooksmith/guest/atomicfile"
)

// paths is where the applet finds and puts things. All are dockerd's and LinuxKit's usual ones, but in tests.
type paths struct {
	run    string // /var/run: docker.sock is here, and all that does not outlive the machine
	data   string // /var/lib/docker
	etc    string // /etc/docker
	bundle string // the system's CA certificates
	baked  string // folder of CA certificates (*.crt) that are part of this HookOS
}

func (p paths) socket() string { return filepath.Join(p.run, "docker.sock") }
func (p paths) exec() string   { return filepath.Join(p.run, "docker") }
func (p paths) containerdSocket() string {
	return filepath.Join(p.run, "docker/containerd/containerd.sock")
}
func (p paths) ours(name string) string { return filepath.Join(p.run, "hook-docker", name) }

// daemonJSON is the text of daemon.json. base, which may be empty, is one that is part of this HookOS: it wins over
// our defaults, and the kernel arguments win over it.
//
//   - overlay2 and no containerd snapshotter: embedded images are in the former's form.
//   - No userland proxy: the kernel does the same, and the image need not hold docker-proxy.
//   - No ip6tables: it saves a second round of the firewall commands that are a third of dockerd's start.
//   - Live restore: containers outlive a dockerd that ends, and so does the action that is writing a disk; a reboot
//     does not wait for them either.
//   - Logs are bounded, since all of it is RAM, also the copies that dockerd keeps of what it sends to syslog.
//
// Of base, what the command line of dockerd sets is left out and told among the problems: dockerd refuses to start over
// it, and a daemon.json must not open a port.
func daemonJSON(base []byte, s settings) (text []byte, problems []error) {
	config := map[string]any{}
	if err := json.Unmarshal(base, &config); err != nil && len(base) > 0 {
		problems = append(problems, fmt.Errorf("daemon.json is left out: %w", err))
		config = nil
	}
	if config == nil { // also of the text "null"
		config = map[string]any{}
	}
	for _, key := range []string{"hosts", "containerd", "pidfile", "exec-root", "data-root"} {
		if _, ok := config[key]; ok {
			problems = append(problems, fmt.Errorf("daemon.json: %q is left out; HookOS sets it itself", key))
			delete(config, key)
		}
	}
	for key, value := range map[string]any{
		"storage-driver":   "overlay2",
		"features":         map[string]bool{"containerd-snapshotter": false},
		"userland-proxy":   false,
		"ip6tables":        false,
		"live-restore":     true,
		"shutdown-timeout": 5,
		"log-driver":       "json-file",
		"log-opts":         map[string]string{"max-size": "10m", "max-file": "2"},
	} {
		if _, ok := config[key]; !ok {
			config[key] = value
		}
	}
	if s.syslog != "" {
		config["log-driver"] = "syslog"
		config["log-opts"] = map[string]string{
			"syslog-address": "udp://" + s.syslog,
			"syslog-format":  "rfc5424",
			"tag":            "{{.Name}}/{{.ID}}",
			"cache-max-size": "10m",
			"cache-max-file": "2",
		}
	}
	if len(s.insecure) > 0 {
		config["insecure-registries"] = s.insecure
	}
	if len(s.mirrors) > 0 {
		config["registry-mirrors"] = s.mirrors
	}
	text, err := json.MarshalIndent(config, "", "  ")
	if err != nil { // what came from JSON, and strings, can be written as JSON
		problems = append(problems, err)
	}
	return text, problems
}

// containerdTOML is containerd's configuration, as dockerd writes it for one that it starts itself, less what docker
// has no use for: containerd 1.7 puts its plugins in order by a search that grows steeply with their number, and starts
// in 0.61 instead of 0.91 s (QEMU -icount) without these. Its verbs are for the folders of data and of state, and for
// the socket. (text/template would do, but keeps the linker from leaving out methods nobody calls: 1.5 of 9.7 MB.)
const containerdTOML = `version = 2
root = %q
state = %q
oom_score = -500
disabled_plugins = [
  "io.containerd.grpc.v1.cri",
  "io.containerd.grpc.v1.sandbox-controllers",
  "io.containerd.grpc.v1.sandboxes",
  "io.containerd.grpc.v1.streaming",
  "io.containerd.grpc.v1.transfer",
  "io.containerd.internal.v1.opt",
  "io.containerd.internal.v1.restart",
  "io.containerd.internal.v1.tracing",
  "io.containerd.nri.v1.nri",
  "io.containerd.sandbox.controller.v1.local",
  "io.containerd.sandbox.store.v1.local",
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.blockfile",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
  "io.containerd.streaming.v1.manager",
  "io.containerd.tracing.processor.v1.otlp",
  "io.containerd.transfer.v1.local",
]

[grpc]
  address = %q
`

// writeConfig writes daemon.json and containerd.toml. The problems are those of a daemon.json that is part of this HookOS.
func writeConfig(p paths, s settings) (problems []error, err error) {
	base, err := os.ReadFile(filepath.Join(p.etc, "daemon.json"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		problems = append(problems, fmt.Errorf("reading daemon.json: %w", err))
	}
	text, more := daemonJSON(base, s)
	problems = append(problems, more...)
	if err := atomicfile.Write(p.ours("daemon.json"), text); err != nil {
		return problems, err
	}
	toml := fmt.Sprintf(containerdTOML, filepath.Join(p.data, "containerd/daemon"), filepath.Join(p.exec(), "containerd/daemon"),
		p.containerdSocket())
	return problems, atomicfile.Write(p.ours("containerd.toml"), []byte(toml))
}

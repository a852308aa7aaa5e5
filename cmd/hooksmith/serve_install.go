package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"hooksmith/serve"
)

// Where an installed server has its things.
const (
	unitName       = "hooksmith-serve.service"
	unitPath       = "/etc/systemd/system/" + unitName
	sysusersPath   = "/etc/sysusers.d/hooksmith.conf"
	configPath     = "/etc/hooksmith/serve.yaml"
	installedState = "/var/lib/hooksmith"
)

// unit runs the server as a user of its own with two capabilities. ProtectHome
// is read-only because artifacts may be in somebody's home; /proc stays whole
// for /proc/net (routes, neighbours).
const unit = `[Unit]
Description=hooksmith serve: boots machines from the network
Wants=network-online.target
After=network-online.target

[Service]
Type=notify
ExecStart=@PROGRAM@ serve --config @CONFIG@
ExecReload=/bin/kill -HUP $MAINPID
Restart=on-failure
RestartSec=2
TimeoutStopSec=30
LimitNOFILE=65536

User=@USER@
Group=@USER@
StateDirectory=hooksmith
StateDirectoryMode=0700
CacheDirectory=hooksmith
UMask=0077
AmbientCapabilities=CAP_NET_BIND_SERVICE CAP_NET_RAW
CapabilityBoundingSet=CAP_NET_BIND_SERVICE CAP_NET_RAW

NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=read-only
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
LockPersonality=yes
MemoryDenyWriteExecute=yes
RemoveIPC=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_PACKET AF_NETLINK AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
`

// installOptions are the flags of `hooksmith serve install`.
type installOptions struct {
	serveFlags
	root   string
	dryRun bool
}

func newServeInstall(a *app) *cobra.Command {
	var o installOptions
	cmd := &cobra.Command{
		Use:   "install",
		Short: "Install the boot server as a systemd service",
		Long: `Write a systemd unit that runs this program as a user of its own with the rights to
bind ports below 1024 and to send raw packets, and nothing else; and ` + configPath + `
with the settings that are given here as flags. A configuration that is there already
is left alone, and so are flags then.`,
		Example: `  # see what would be written
  hooksmith serve install --interface eth0 --artifacts /srv/hook --hardware /srv/hardware.csv --dry-run

  sudo hooksmith serve install --interface eth0 --artifacts /srv/hook --hardware /srv/hardware.csv
  sudo systemctl enable --now hooksmith-serve`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := refuseEmpty(cmd); err != nil {
				return err
			}
			files, notes, err := o.files(a)
			if err != nil {
				return err
			}
			for _, note := range notes {
				fmt.Fprintf(a.stderr, "note: %s\n", note)
			}
			if o.dryRun {
				return a.printFiles(files)
			}
			return o.install(cmd.Context(), a, files)
		},
	}
	o.addSettings(cmd)
	cmd.Flags().StringVar(&o.root, "root", "", "write below this `FOLDER` instead of /, and run nothing: for packages and images")
	cmd.Flags().BoolVar(&o.dryRun, "dry-run", false, "print the files and write nothing")
	return cmd
}

// installed is a file to write.
type installed struct {
	path, text string
	keep       bool // if it is there already
}

// userForm is what useradd takes, and what needs no quoting in the unit.
var userForm = regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,30}$`)

// files makes the unit, the user's definition and the configuration. The notes
// say what the service will not get at.
func (o *installOptions) files(a *app) (files []installed, notes []string, err error) {
	loaded, err := o.load(a)
	if err != nil {
		return nil, nil, err
	}
	user := loaded.User
	if user == "" {
		user = "hooksmith"
	}
	if !userForm.MatchString(user) {
		return nil, nil, usagef("--user %q: want a plain user name", user)
	}
	program, err := installedProgram()
	if err != nil {
		return nil, nil, err
	}
	config, err := configText(loaded)
	if err != nil {
		return nil, nil, err
	}
	if o.root == "" { // elsewhere are other files
		notes = reachable(program, loaded, user)
	}
	text := strings.NewReplacer("@PROGRAM@", program, "@CONFIG@", configPath, "@USER@", user).Replace(unit)
	return []installed{
		{configPath, config, true},
		{sysusersPath, fmt.Sprintf("u %s - \"hooksmith serve\" %s\n", user, installedState), false},
		{unitPath, text, false},
	}, notes, nil
}

// installedProgram is this program's path for the unit.
func installedProgram() (string, error) {
	self, err := os.Executable()
	if err == nil {
		self, err = filepath.EvalSymlinks(self)
	}
	if err == nil && strings.ContainsAny(self, " \t\"'%$\\") {
		err = fmt.Errorf("%s: a path that systemd would read as something else", self)
	}
	return self, withHint(err, "install it first: sudo install bin/hooksmith /usr/local/bin/hooksmith")
}

// configText is a serve.yaml with what was given; its state is systemd's.
func configText(loaded *serve.Loaded) (string, error) {
	var b strings.Builder
	b.WriteString("# Settings of hooksmith serve; `hooksmith serve --check --config " + configPath + "` prints all.\n")
	for _, s := range loaded.Settings() {
		if loaded.Origin[s.Name] == "" || s.Name == "state" || s.Name == "user" {
			continue
		}
		value, err := yaml.MarshalWithOptions(absolute(s), yaml.Flow(true), yaml.JSON())
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "%s: %s\n", s.Name, strings.TrimSpace(string(value)))
	}
	return b.String(), nil
}

// isFile tells the settings that name a file or folder.
func isFile(setting string) bool {
	switch setting {
	case "artifacts", "require-signature", "ipxe-dir", "tls-cert", "tls-key", "token-file":
		return true
	}
	return false
}

// absolute is a setting's value; files are meant from here, not from /etc.
func absolute(s *serve.Setting) any {
	fix := func(path string) string {
		if abs, err := filepath.Abs(path); err == nil && path != "" {
			return abs
		}
		return path
	}
	switch {
	case isFile(s.Name):
		return fix(fmt.Sprint(s.Get()))
	case s.Name == "hardware":
		var all []string
		for _, path := range s.Get().([]string) {
			all = append(all, fix(path))
		}
		return all
	}
	return s.Get()
}

func (a *app) printFiles(files []installed) error {
	for _, f := range files {
		if _, err := fmt.Fprintf(a.stdout, "# %s\n%s\n", f.path, f.text); err != nil {
			return err
		}
	}
	return nil
}

// install writes the files and lets systemd know.
func (o *installOptions) install(ctx context.Context, a *app, files []installed) error {
	for _, f := range files {
		path := filepath.Join(o.root, f.path)
		if _, err := os.Stat(path); err == nil && f.keep {
			fmt.Fprintf(a.stderr, "%s is there already and stays as it is\n", path)
			continue
		}
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		if err == nil {
			err = renameio.WriteFile(path, []byte(f.text), 0o644)
		}
		if errors.Is(err, fs.ErrPermission) {
			return withHint(err, "run it as root: sudo hooksmith serve install")
		}
		if err != nil {
			return err
		}
		fmt.Fprintf(a.stderr, "wrote %s\n", path)
	}
	if o.root != "" {
		return nil
	}
	for _, argv := range [][]string{{"systemd-sysusers", sysusersPath}, {"systemctl", "daemon-reload"}} {
		if out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, strings.TrimSpace(string(out)))
		}
	}
	_, err := fmt.Fprintln(a.stdout, "start it with: sudo systemctl enable --now hooksmith-serve")
	return err
}

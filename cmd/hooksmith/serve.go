package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/adrg/xdg"
	"github.com/spf13/cobra"

	"hooksmith/build/fetch"
	"hooksmith/cmd/hooksmith/internal/bootfiles"
	"hooksmith/configs"
	"hooksmith/serve"
)

// serveFlags are the settings of the boot server as flags, and those that say
// where the others come from.
type serveFlags struct {
	config, cacheDir, mirror string
	offline                  bool
	given                    []*settingFlag
}

// settingFlag is a flag of a serve.Setting. It remembers what was given; the
// values are put over those of the file later.
type settingFlag struct {
	setting *serve.Setting // of a Config that only checks
	values  []string
}

// guessed are the lists of which an empty one does not mean none: this host's
// own would be taken.
var guessed = []string{"interface", "pool", "gateway", "dns", "ntp"}

// String is empty if a value is, and that is no setting: as of a variable that
// is not set. A list of nothing is one: none, whatever the file says.
func (f *settingFlag) String() string {
	if f.setting.Split != "" && len(f.values) > 0 && !slices.Contains(guessed, f.setting.Name) {
		return fmt.Sprint(f.values)
	}
	if slices.ContainsFunc(f.values, func(v string) bool { return strings.Trim(v, f.setting.Split+" ") == "" }) {
		return ""
	}
	return strings.Join(f.values, f.setting.Split)
}

func (f *settingFlag) IsBoolFlag() bool { return f.setting.IsBool() }

func (f *settingFlag) Type() string {
	switch {
	case f.setting.IsBool():
		return "bool" // pflag prints no word for it
	case f.setting.Choices != nil:
		return (&choice{allowed: f.setting.Choices}).Type()
	}
	return "value"
}

func (f *settingFlag) Set(v string) error {
	if f.setting.Split == "" {
		f.values = nil // the last one counts
	}
	f.values = append(f.values, v)
	return f.setting.Set(f.values...)
}

// addSettings adds a flag for every setting, or for those that are named.
func (o *serveFlags) addSettings(cmd *cobra.Command, names ...string) {
	f := cmd.Flags()
	f.StringVar(&o.config, "config", "", "`FILE` with settings, named as the flags are (default serve.yaml, if it is there)")
	wanted := map[string]bool{}
	for _, name := range names {
		wanted[name] = true
	}
	for _, s := range (&serve.Config{}).Settings() {
		if len(names) > 0 && !wanted[s.Name] {
			continue
		}
		value := &settingFlag{setting: s}
		o.given = append(o.given, value)
		flag := f.VarPF(value, s.Name, "", s.Usage)
		if s.IsBool() {
			flag.NoOptDefVal = "on"
		}
		if s.Choices != nil {
			// Fails only for a flag that is not there or has one already.
			_ = cmd.RegisterFlagCompletionFunc(s.Name, cobra.FixedCompletions(s.Choices, cobra.ShellCompDirectiveNoFileComp))
		}
	}
}

// addSources adds the flags of where boot binaries come from. Like settings
// they have names in the environment.
func (o *serveFlags) addSources(a *app, cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.cacheDir, "cache-dir", "", "`FOLDER` for downloads (default $CACHE_DIRECTORY, with --user below --state, else $XDG_CACHE_HOME/hooksmith)")
	f.StringVar(&o.mirror, "debian-mirror", "", "`URL` of a Debian mirror for the package ipxe (default those of this host's APT sources, then ftp.debian.org)")
	f.BoolVar(&o.offline, "offline", false, "use the cache only; fail if something is not in it")
	cmd.PreRunE = func(*cobra.Command, []string) error {
		for variable, name := range map[string]string{"HOOKSMITH_CACHE_DIR": "cache-dir", "HOOKSMITH_DEBIAN_MIRROR": "debian-mirror", "HOOKSMITH_OFFLINE": "offline"} {
			v, ok := a.lookupEnv(variable)
			if !ok || v == "" || f.Changed(name) {
				continue
			}
			if err := f.Set(name, v); err != nil {
				return fmt.Errorf("%s: %w", variable, err)
			}
		}
		return nil
	}
}

// load puts flags over environment over file.
func (o *serveFlags) load(a *app) (*serve.Loaded, error) {
	in := serve.Inputs{LookupEnv: a.lookupEnv, Flags: map[string][]string{}}
	for _, f := range o.given {
		if f.values != nil {
			in.Flags[f.setting.Name] = f.values
		}
	}
	var err error
	if in.File, in.Data, err = o.readConfig(a); err != nil {
		return nil, err
	}
	loaded, err := serve.Load(in)
	if err != nil {
		return nil, &usageError{err}
	}
	if loaded.State == "" {
		loaded.State, loaded.Origin["state"] = a.defaultState()
	}
	return loaded, nil
}

// readConfig reads the file of --config, of HOOKSMITH_CONFIG, or ./serve.yaml.
func (o *serveFlags) readConfig(a *app) (name string, data []byte, err error) {
	name = o.config
	if name == "" {
		name, _ = a.lookupEnv("HOOKSMITH_CONFIG")
	}
	wanted := name != ""
	if !wanted {
		name = "serve.yaml"
	}
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) && !wanted {
		return "", nil, nil
	}
	if err != nil {
		return "", nil, fmt.Errorf("--config: %w", err)
	}
	defer f.Close()
	const most = 2 << 20 // serve.Load says what is too much
	data, err = io.ReadAll(io.LimitReader(f, most))
	return name, data, err
}

// defaultState is the folder that systemd gives a service, else the user's.
func (a *app) defaultState() (dir, origin string) {
	if dir, ok := a.lookupEnv("STATE_DIRECTORY"); ok && dir != "" {
		return dir, "$STATE_DIRECTORY"
	}
	return filepath.Join(xdg.StateHome, "hooksmith"), "$XDG_STATE_HOME"
}

// options are what the server needs from here: boot binaries, the log.
func (o *serveFlags) options(a *app, c *serve.Config) serve.Options {
	return serve.Options{
		Version: ourVersion(), Log: a.log, Verifier: requireSignature,
		Binaries: func(ctx context.Context) (fs.FS, error) { return o.binaries(ctx, a, o.cache(a, c)) },
	}
}

// cache is the folder for downloads: one that the server's user may write.
func (o *serveFlags) cache(a *app, c *serve.Config) string {
	if o.cacheDir != "" {
		return o.cacheDir
	}
	if dir, ok := a.lookupEnv("CACHE_DIRECTORY"); ok && dir != "" {
		return dir
	}
	if c.User != "" {
		return filepath.Join(c.State, "cache")
	}
	return filepath.Join(xdg.CacheHome, "hooksmith")
}

// binaries are those of Debian's package ipxe. They stay open until the
// program ends.
func (o *serveFlags) binaries(ctx context.Context, a *app, dir string) (fs.FS, error) {
	mirrors, err := (&inputFlags{mirror: o.mirror}).mirrors()
	if err != nil {
		return nil, err
	}
	var files *bootfiles.Files
	files, err = bootfiles.Open(ctx, bootfiles.Options{
		Configs: configs.FS, Mirrors: mirrors, Log: a.log,
		Cache: &fetch.Cache{Dir: dir, Offline: o.offline, Observer: a.progress, Log: a.log},
	})
	if err != nil {
		return nil, withHint(fmt.Errorf("boot binaries: %w", err), "name a folder that has them with --ipxe-dir, as /usr/lib/ipxe after: sudo apt-get install ipxe")
	}
	return files, nil
}

func newServe(a *app) *cobra.Command {
	var o serveFlags
	var check bool
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Boot machines from the network",
		Long: `Take machines from power-on to HookOS: DHCP (or a proxy beside another DHCP server),
TFTP, HTTP, iPXE scripts, syslog and a page that shows every machine's boot, in one
process. Hardware data are followed while it runs.

Every flag is also a key of serve.yaml and, as HOOKSMITH_NAME, a variable of the
environment: flags win over the environment, that wins over the file.

It needs the right to bind ports below 1024 and to send raw packets: run it by
systemd (hooksmith serve install), or as root with --user.`,
		Example: `  # boot the machines of hardware.csv, as Tinkerbell and EKS Anywhere know them
  sudo hooksmith serve --interface eth0 --artifacts out/hook --hardware hardware.csv --user nobody

  # beside the network's own DHCP server, for every machine that asks
  sudo hooksmith serve --interface eth0 --artifacts out/hook --dhcp-mode auto-proxy

  # what would be served, with where each value comes from; nothing is bound
  hooksmith serve --config serve.yaml --check

  # what goes on
  hooksmith serve status --watch`,
		Args: unknownBelow,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := refuseEmpty(cmd); err != nil {
				return err
			}
			loaded, err := o.load(a)
			if err != nil {
				return err
			}
			if err := a.dropRights(loaded, check); err != nil {
				return err
			}
			plan, err := serve.NewPlan(cmd.Context(), loaded.Config, o.options(a, &loaded.Config))
			if err != nil {
				return servable(err)
			}
			if check {
				return a.printCheck(loaded, plan)
			}
			return a.serve(cmd.Context(), plan)
		},
	}
	o.addSettings(cmd)
	o.addSources(a, cmd)
	cmd.Flags().BoolVar(&check, "check", false, "check everything and print the configuration in force as YAML, without serving")
	cmd.AddCommand(newServeStatus(a), newServeLogs(a), newServePreview(a), newServeInstall(a))
	return cmd
}

// servable adds the next step to errors that have one.
func servable(err error) error {
	var unsigned *serve.UnsignedError
	if errors.As(err, &unsigned) {
		return withHint(err, "sign it where it was built: hooksmith sign %s --key KEY; or leave --require-signature out", unsigned.Folder)
	}
	var none *serve.NoArtifactsError
	if errors.As(err, &none) {
		return withHint(err, "build HookOS first: hooksmith build --out out/hook, and name the folder with --artifacts")
	}
	return err
}

func (a *app) printCheck(loaded *serve.Loaded, plan *serve.Plan) error {
	text, err := loaded.YAML(plan.Config)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprint(a.stdout, text); err != nil {
		return err
	}
	fmt.Fprintf(a.stderr, "%d machines in the hardware data; boot binaries:\n", plan.Machines)
	for _, b := range plan.Binaries.All() {
		fmt.Fprintf(a.stderr, "  %s\n", b)
	}
	for _, note := range plan.Notes() {
		fmt.Fprintf(a.stderr, "note: %s\n", note)
	}
	return nil
}

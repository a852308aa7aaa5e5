package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"hooksmith/publish"
	"hooksmith/publish/check"
	"hooksmith/publish/store"
)

// transferFlags are those of publish and fetch.
type transferFlags struct {
	limit    string
	parallel int
}

func (o *transferFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.limit, "limit-rate", "", "at most so many `BYTES` per second, both ways together: 500k, 20M")
	cmd.Flags().IntVar(&o.parallel, "parallel", 3, "`FILES` at once")
}

func (o *transferFlags) options(a *app) (publish.Options, error) {
	opt := publish.Options{Parallel: o.parallel, Observer: transfers{a.progress}, Log: a.log, By: identity()}
	if o.parallel < 1 || o.parallel > 64 {
		return opt, usagef("--parallel %d: give 1 to 64", o.parallel)
	}
	var err error
	if opt.RateLimit, err = parseRate(o.limit); err != nil {
		return opt, err
	}
	home, _ := os.UserHomeDir() // without one there are no keys and accounts in it
	opt.Access = store.Access{Home: home, LookupEnv: a.lookupEnv}
	return opt, nil
}

// leastRate is that of a line on which servers do not give up.
const leastRate = 4000

// parseRate reads bytes per second, with k, M or G for powers of 1000.
func parseRate(s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	number, factor := s, 1.0
	if i := strings.IndexAny(s, "kKmMgG"); i == len(s)-1 {
		factor = map[byte]float64{'k': 1e3, 'm': 1e6, 'g': 1e9}[s[i]|0x20]
		number = s[:i]
	}
	n, err := strconv.ParseFloat(number, 64)
	if err != nil || !(n*factor >= leastRate && n*factor < math.MaxInt64) {
		return 0, usagef("--limit-rate %q: give bytes per second, such as 500k or 20M, and no less than 4k", s)
	}
	return int64(n * factor), nil
}

// identity is who publishes, for others who wait.
func identity() string {
	host, _ := os.Hostname()
	return fmt.Sprintf("%s, process %d", host, os.Getpid())
}

// transfers shows publish's tasks.
type transfers struct{ p *progress }

func (t transfers) Begin(name string, total int64) publish.Task { return t.p.Begin(name, total) }

// publishFlags are those of publish alone.
type publishFlags struct {
	transferFlags
	from, signKey, rollback, url string
	keep                         int
	list, unlock, prune          bool
	asJSON, noCheck              bool
}

func newPublish(a *app) *cobra.Command {
	var o publishFlags
	cmd := &cobra.Command{
		Use:   "publish DESTINATION",
		Short: "Put artifacts where machines boot from",
		Long: `Put the artifacts of a build where hookImagesURLPath points. DESTINATION is a folder, or

  s3://BUCKET/PREFIX     Amazon's or any other server (?endpoint=http://HOST:PORT&region=NAME)
  gs://BUCKET/PREFIX     Google Cloud Storage
  azblob://CONTAINER     Azure (AZURE_STORAGE_ACCOUNT)
  https://HOST/PATH      PUT, better with WebDAV (~/.netrc)
  sftp://USER@HOST/PATH  known_hosts is checked; keys of ssh-agent and ~/.ssh
  oci://HOST/NAME:TAG    a registry (Docker's credentials), one manifest for all

All files go below the set's id and are read back; only then do the stable names
(vmlinuz-x86_64, initramfs-x86_64, hook.json...) switch to them. In a folder, over SFTP
and in a registry they switch all at once; elsewhere one after the other, each
initramfs just before its kernel. The URL with the id in it never changes what it gives.
A publish that fails or is cut off leaves the old set in force, or the next one completes
it. What is there already is not moved again. Of two publishers at once, one is refused.`,
		Example: `  hooksmith publish /srv/www/hook --sign hook.key --url http://192.168.2.1/hook
  hooksmith publish 's3://hookos/prod?endpoint=http://minio:9000' --keep 5
  hooksmith publish oci://registry.example.com/hookos:prod --from out/rack-7
  hooksmith publish /srv/www/hook --list
  hooksmith publish /srv/www/hook --rollback 4f1c
  hooksmith publish /srv/www/hook --prune --keep 2`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.validate(cmd, args[0]); err != nil {
				return err
			}
			opt, err := o.options(a)
			if err != nil {
				return err
			}
			opt.Dest, opt.From, opt.Keep = args[0], o.from, o.keep
			return o.run(cmd, a, opt)
		},
	}
	o.add(cmd)
	return cmd
}

func (o *publishFlags) add(cmd *cobra.Command) {
	o.transferFlags.add(cmd)
	f := cmd.Flags()
	f.StringVar(&o.from, "from", filepath.Join("out", "hook"), "`FOLDER` of the build")
	f.StringVar(&o.signKey, "sign", "", "sign hook.json with this private key `FILE`")
	f.IntVar(&o.keep, "keep", 0, "remove old `SETS` so that this many are left (default: all stay)")
	f.StringVar(&o.url, "url", "", "`URL` at which machines see the destination: it is checked and printed")
	f.BoolVar(&o.noCheck, "no-check", false, "do not try the result as machines would")
	f.BoolVar(&o.list, "list", false, "list the sets that are published, and do nothing")
	f.StringVar(&o.rollback, "rollback", "", "switch back to the set with this `ID`, or the beginning of one")
	f.BoolVar(&o.prune, "prune", false, "remove old sets so that --keep are left, and publish nothing")
	f.BoolVar(&o.unlock, "unlock", false, "remove the lock of a publisher that was killed")
	f.BoolVar(&o.asJSON, "json", false, "print the result as JSON")
	cmd.MarkFlagsMutuallyExclusive("list", "rollback", "unlock", "prune")
	for _, instead := range []string{"list", "rollback", "unlock", "prune"} { // of publishing
		cmd.MarkFlagsMutuallyExclusive(instead, "from")
		cmd.MarkFlagsMutuallyExclusive(instead, "sign")
		if instead != "prune" {
			cmd.MarkFlagsMutuallyExclusive(instead, "keep")
		}
	}
}

// validate refuses what would be found out after publishing, or would do
// something else than was meant.
func (o *publishFlags) validate(cmd *cobra.Command, dest string) error {
	if err := refuseEmpty(cmd); err != nil {
		return err
	}
	given := cmd.Flags().Changed("keep")
	switch {
	case dest == "":
		return usagef("the destination is empty: is a shell variable unset? Name a folder or a URL")
	case given && o.keep < 1:
		return usagef("--keep %d: give the number of sets that stay, 1 or more", o.keep)
	case o.prune && !given:
		return usagef("--prune: say with --keep how many sets stay")
	}
	if u, err := url.Parse(o.url); o.url != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "") {
		return usagef("--url %s: give an absolute URL such as http://192.168.2.1/hook", o.url)
	}
	return nil
}

func (o *publishFlags) run(cmd *cobra.Command, a *app, opt publish.Options) error {
	ctx := cmd.Context()
	var err error
	if o.signKey != "" {
		if opt.Key, err = a.privateKey(o.signKey); err != nil {
			return err
		}
	}
	switch {
	case o.list:
		return a.listSets(ctx, opt, o.asJSON)
	case o.unlock:
		return publish.Unlock(ctx, opt)
	case o.prune:
		return o.pruneSets(ctx, a, opt)
	}
	var result *publish.Result
	if o.rollback != "" {
		result, err = publish.Rollback(ctx, opt, o.rollback)
	} else {
		result, err = publish.Publish(ctx, opt)
	}
	if errors.Is(err, syscall.ENOSPC) {
		return withHint(err, "make room, or remove old sets: hooksmith publish %s --prune --keep 1", opt.Dest)
	}
	if err != nil {
		return err
	}
	if err := o.print(a, opt.Dest, result); err != nil || o.noCheck {
		return err
	}
	return o.check(ctx, a, opt.Dest, result)
}

func (o *publishFlags) pruneSets(ctx context.Context, a *app, opt publish.Options) error {
	removed, err := publish.Prune(ctx, opt)
	for _, id := range removed {
		fmt.Fprintf(a.stderr, "set %s removed\n", id)
	}
	if err != nil {
		return err
	}
	if o.asJSON {
		return a.printJSON(struct {
			Removed []string `json:"removed"`
		}{append([]string{}, removed...)})
	}
	if len(removed) == 0 {
		fmt.Fprintln(a.stderr, "there was no set to remove")
	}
	return nil
}

func (o *publishFlags) print(a *app, dest string, r *publish.Result) error {
	fmt.Fprintf(a.stderr, "set %s: %s of %s sent, all of it read back, %s\n", r.ID, byteCount(r.Sent), byteCount(r.Total), r.Took.Round(100*time.Millisecond))
	for _, name := range r.Gone {
		fmt.Fprintf(a.stderr, "%s is not in this set: the name is gone\n", name)
	}
	for _, id := range r.Removed {
		fmt.Fprintf(a.stderr, "set %s removed\n", id)
	}
	if o.asJSON {
		return a.printJSON(r)
	}
	if where := publish.Where(dest, o.url); where != "" {
		note := ""
		if !r.AtOnce {
			note = "  # never two builds in one boot: " + where + "/" + r.ID
		}
		if _, err := fmt.Fprintf(a.stdout, "hookImagesURLPath: %s%s\n", where, note); err != nil {
			return err
		}
	} else if !strings.HasPrefix(dest, "oci://") {
		fmt.Fprintln(a.stderr, "hookImagesURLPath is the URL at which a web server gives this: --url prints and checks it")
	}
	fmt.Fprintln(a.stderr, publish.ServeHint(dest))
	return nil
}

// check tries what machines will get, where it can be reached.
func (o *publishFlags) check(ctx context.Context, a *app, dest string, r *publish.Result) error {
	target := o.url
	if target == "" {
		target = publish.Checkable(dest)
	}
	if target == "" {
		fmt.Fprintln(a.stderr, "not checked as machines see it: give their --url, or run hooksmith check URL")
		return nil
	}
	var failed []error
	for _, f := range r.Files {
		arch, ok := strings.CutPrefix(f.Name, "vmlinuz-")
		if !ok || arch != "x86_64" && arch != "aarch64" {
			continue
		}
		report, err := check.Run(ctx, target, check.Options{Arch: arch, NoWorker: true, Begin: a.download})
		if err != nil {
			return err
		}
		for _, c := range report.Results {
			if c.Status == check.Fail || c.Status == check.Warn {
				fmt.Fprintf(a.stderr, "%s: %s: %s (%s)\n", c.Status, c.Title, c.Detail, c.Fix)
			}
		}
		if !report.OK {
			failed = append(failed, fmt.Errorf("published, but machines will not boot from it: %s (%s): %s", target, arch, report.Summary()))
		} else {
			fmt.Fprintf(a.stderr, "checked %s for %s: %s\n", target, arch, report.Summary())
		}
	}
	return errors.Join(failed...)
}

func (a *app) listSets(ctx context.Context, opt publish.Options, asJSON bool) error {
	x, err := publish.List(ctx, opt)
	if err != nil {
		return err
	}
	if asJSON {
		return a.printJSON(x)
	}
	if len(x.Sets) == 0 {
		fmt.Fprintln(a.stderr, "nothing was published there")
	}
	w := tabwriter.NewWriter(a.stdout, 0, 8, 2, ' ', 0)
	for _, e := range x.Sets {
		state := ""
		switch {
		case x.Switching != nil && x.Switching.To == e.ID:
			state = "switching was cut off"
		case e.ID == x.Current:
			state = "current"
		case !e.Complete:
			state = "unfinished"
		}
		signed := ""
		if e.Signed {
			signed = "signed"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", e.ID, e.Published.Format(time.RFC3339), byteCount(e.Bytes()),
			strings.Join(e.Flavors, ","), strings.Join(e.Kernels, ","), signed, state)
	}
	return w.Flush()
}

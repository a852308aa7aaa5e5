package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"hooksmith/build/images"
	"hooksmith/kernel/compile"
)

func newCache(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cache",
		Short: "Look after what builds keep for the next time",
		Long: `The cache holds downloads (Debian packages, image layers), what was unpacked, and
compressed parts of initramfs. All of it can be had again; removing it costs time
and downloads only.`,
		Example: `  hooksmith cache ls
  hooksmith cache prune --older-than 720h`,
	}
	cmd.AddCommand(newCacheLs(a), newCachePrune(a))
	return cmd
}

// cacheEntries lists all parts of a cache folder.
func cacheEntries(dir string) ([]images.Entry, error) {
	all, err := images.List(filepath.Join(dir, "images"))
	if err != nil {
		return nil, err
	}
	for _, part := range []struct{ folder, kind string }{
		{"blobs", "download"}, {"partial", "partial"}, {"latest", "index"}, {"derived", "unpacked"}, {"built", "record"},
	} {
		entries, err := images.ListFiles(filepath.Join(dir, part.folder), part.kind)
		if err != nil {
			return nil, err
		}
		all = append(all, entries...)
	}
	return all, nil
}

// leftovers lists the files of kernel builds that were killed.
func leftovers(dir string) ([]images.Entry, error) {
	var all []images.Entry
	for _, folder := range compile.Leftovers(dir) {
		entries, err := images.ListFiles(folder, "leftover")
		if err != nil {
			return nil, err
		}
		all = append(all, entries...)
	}
	return all, nil
}

// listCache lists the parts of a cache folder, and what is left of kernel
// builds in it.
func listCache(dir string) (entries, left []images.Entry, err error) {
	if entries, err = cacheEntries(dir); err != nil {
		return nil, nil, err
	}
	left, err = leftovers(dir)
	return entries, left, err
}

func newCacheLs(a *app) *cobra.Command {
	var in inputFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List what is in the cache",
		Long:  `List what is in the cache by kind, or with --json every file with its size and when it was last used.`,
		Example: `  hooksmith cache ls
  hooksmith cache ls --json | jq -r '.[] | select(.size > 1e8) | .path'`,
		RunE: func(*cobra.Command, []string) error {
			entries, left, err := listCache(in.cache())
			if err != nil {
				return err
			}
			entries = append(entries, left...)
			if asJSON {
				return a.printJSON(entries)
			}
			return a.printCache(in.cache(), entries)
		},
	}
	in.addCacheDir(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print every file as JSON")
	return cmd
}

func (a *app) printCache(dir string, entries []images.Entry) error {
	type sum struct {
		files int
		bytes int64
	}
	sums := map[string]*sum{}
	var order []string
	total := sum{}
	for _, e := range entries {
		if sums[e.Kind] == nil {
			sums[e.Kind] = &sum{}
			order = append(order, e.Kind)
		}
		for _, s := range []*sum{sums[e.Kind], &total} {
			s.files++
			s.bytes += e.Size
		}
	}
	w := tabwriter.NewWriter(a.stdout, 0, 8, 2, ' ', 0)
	for _, kind := range order {
		fmt.Fprintf(w, "%s\t%d files\t%s\n", kind, sums[kind].files, byteCount(sums[kind].bytes))
	}
	fmt.Fprintf(w, "total\t%d files\t%s\t%s\n", total.files, byteCount(total.bytes), dir)
	return w.Flush()
}

func newCachePrune(a *app) *cobra.Command {
	var in inputFlags
	var age, guard time.Duration
	var megabytes int64
	var all bool
	cmd := &cobra.Command{
		Use:   "prune",
		Short: "Remove what was not used for long",
		Long: `Remove files of the cache that were not used for --older-than, and then those that
were not used for longest, until at most --keep megabytes are left. What a running
build may be using (the last hour's) stays, unless --all removes everything. What
kernel builds left that were killed goes whatever its age.`,
		Example: `  hooksmith cache prune
  hooksmith cache prune --older-than 0 --keep 2000
  hooksmith cache prune --all`,
		RunE: func(*cobra.Command, []string) error {
			entries, left, err := listCache(in.cache())
			if err != nil {
				return err
			}
			limits := images.Limits{Age: age, Total: megabytes * 1e6, Guard: guard}
			if all {
				limits = images.Limits{Age: time.Nanosecond, Guard: time.Nanosecond}
			}
			gone, err := images.Prune(entries, limits)
			swept, sweepErr := compile.Sweep(in.cache())
			for _, e := range left {
				if slices.Contains(swept, filepath.Dir(e.Path)) {
					gone = append(gone, e)
				}
			}
			var bytes int64
			for _, e := range gone {
				bytes += e.Size
			}
			fmt.Fprintf(a.stdout, "removed %d of %d files, %s\n", len(gone), len(entries)+len(left), byteCount(bytes))
			return errors.Join(err, sweepErr)
		},
	}
	in.addCacheDir(cmd)
	f := cmd.Flags()
	f.DurationVar(&age, "older-than", 30*24*time.Hour, "remove what was not used for this `TIME`; 0 removes nothing for its age")
	f.Int64Var(&megabytes, "keep", 0, "remove more until at most so many `MEGABYTES` are left; 0 is any number")
	f.BoolVar(&all, "all", false, "remove everything")
	return cmd
}

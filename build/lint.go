package build

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"slices"

	"hooksmith/build/linuxkit"
	"hooksmith/build/rootfs"
)

// Lint says what is doubtful in the template of a build: what LinuxKit would
// do otherwise, what is ambiguous, what is unsafe. It finds the images and
// unpacks them into the cache, because some findings depend on what is in them.
func Lint(ctx context.Context, opt Options) ([]linuxkit.Finding, error) {
	p, err := NewPlan(ctx, opt)
	if err != nil {
		return nil, err
	}
	b := &builder{Plan: p, layers: newLayers(ctx, opt.Cache)}
	parts, err := b.unpackAll(ctx)
	return b.lint(parts), errors.Join(err, b.layers.Close())
}

// unpackAll is a build up to the parts.
func (b *builder) unpackAll(ctx context.Context) ([]part, error) {
	if err := b.prepare(ctx); err != nil {
		return nil, err
	}
	k, err := b.openKernel(ctx)
	if err != nil {
		return nil, err
	}
	return b.parts(ctx, k)
}

// lint runs LinuxKit's rules over the template.
func (b *builder) lint(parts []part) []linuxkit.Finding {
	return linuxkit.Lint(b.cfg, linuxkit.Info{
		Resolved: b.resolved,
		Stat: func(path string) (linuxkit.Stat, bool) {
			for _, p := range slices.Backward(parts) {
				if p.location == "parents" || p.group == groupFiles {
					continue
				}
				if n := p.tree.Lookup(path); n != nil && !n.Implied() {
					return linuxkit.Stat{Mode: fileMode(n), UID: n.UID, GID: n.GID}, true
				}
			}
			return linuxkit.Stat{}, false
		},
	})
}

// report logs findings. Of our own templates those are told that are defects;
// what their images may do is what they are for.
func (b *builder) report(findings []linuxkit.Finding) {
	for _, f := range findings {
		level := slog.LevelWarn
		if len(b.opt.Files) == 0 && (f.Rule == "privilege" || f.Rule == "file-parent") {
			level = slog.LevelDebug
		}
		b.opt.Log.Log(context.Background(), level, f.Message, "at", f.Pos.String(), "rule", f.Rule, "fix", f.Fix)
	}
}

// Serious reports whether a finding is a defect: the container would not
// start, or something else would be built than the file says.
func Serious(f linuxkit.Finding) bool { return seriousRules[f.Rule] }

var seriousRules = map[string]bool{
	"image-unknown": true, "no-command": true, "hostname-uts": true, "namespace-path": true,
	"duplicate-bind": true, "duplicate-file": true, "no-kernel-image": true, "cmdline-long": true,
}

// fileMode is the mode as package fs has it.
func fileMode(n *rootfs.Inode) fs.FileMode {
	mode := fs.FileMode(n.Mode & 0o777)
	mode |= cmp.Or(map[uint32]fs.FileMode{
		rootfs.ModeDir: fs.ModeDir, rootfs.ModeLink: fs.ModeSymlink, rootfs.ModeFifo: fs.ModeNamedPipe,
		rootfs.ModeChar: fs.ModeDevice | fs.ModeCharDevice, rootfs.ModeBlock: fs.ModeDevice,
	}[n.Type()], 0)
	return mode
}

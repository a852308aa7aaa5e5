package publish

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"hooksmith/build"
	"hooksmith/publish/sign"
	"hooksmith/publish/store"
	"hooksmith/publish/verify"
)

// switchTime bounds a switch: it is not ended by an interruption.
const switchTime = 10 * time.Minute

// switchTo makes the stable names mean the set id. Local, if not nil, has the
// files, for stores that cannot copy.
func (p *publisher) switchTo(ctx context.Context, id string, local *set) (*Result, error) {
	to := p.index.find(id)
	from := p.was
	result := &Result{ID: id, Previous: p.index.Current, Files: to.Files, Total: to.Bytes(), Gone: goneNames(from, to)}
	if err := errors.Join(ctx.Err(), p.lock.mineStill(ctx)); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), switchTime)
	defer cancel()
	p.index.Switching = &Switching{From: p.index.Current, To: id}
	if err := p.index.save(ctx, p.store); err != nil {
		return nil, err
	}
	var err error
	result.AtOnce, err = p.turn(ctx, from, to, local)
	if err != nil {
		return nil, fmt.Errorf("switching to %s: %w", id, err)
	}
	p.index.Current, p.index.Switching = id, nil
	return result, p.index.save(ctx, p.store)
}

// turn switches in one step, if the store can, else name by name. If it fails,
// the names are set back.
func (p *publisher) turn(ctx context.Context, from, to *Entry, local *set) (atOnce bool, err error) {
	if turner, ok := store.Unwrap(p.store).(store.Turner); ok {
		err := p.turnAtOnce(ctx, turner, from, to)
		if !errors.Is(err, store.ErrUnsupported) {
			return true, err
		}
	}
	if set, err := p.nameByName(ctx, from, to, local); err != nil {
		return false, errors.Join(err, p.undo(ctx, from, set))
	}
	return false, p.remove(ctx, obsolete(from, to))
}

// nameByName sets the names that do not mean to's files yet. It returns those
// that it may have set.
func (p *publisher) nameByName(ctx context.Context, from, to *Entry, local *set) ([]Object, error) {
	steps := order(to.Files)
	for i, o := range steps {
		if from.has(o) {
			continue
		}
		if err := p.stable(ctx, to.ID, o, local); err != nil {
			return steps[:i+1], err
		}
	}
	return steps, nil
}

func (p *publisher) remove(ctx context.Context, names []string) error {
	for _, name := range names {
		if err := p.store.Delete(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// turnAtOnce turns; a turn that failed is turned back.
func (p *publisher) turnAtOnce(ctx context.Context, turner store.Turner, from, to *Entry) error {
	err := p.opt.Retry.Do(ctx, "switching", func() error { return turner.Turn(ctx, to.ID, to.names(), obsolete(from, to)) })
	if err == nil || errors.Is(err, store.ErrUnsupported) || from == nil {
		return err
	}
	if back := turner.Turn(ctx, from.ID, from.names(), obsolete(to, from)); back != nil {
		return errors.Join(err, &stuckError{back})
	}
	return errors.Join(err, p.takenBack(ctx))
}

// stuckError: neither the old set nor the new one has all stable names.
type stuckError struct{ error }

func (e *stuckError) Unwrap() error { return e.error }

func (e *stuckError) Error() string {
	return "nor could the switch be taken back (the next publish or --rollback to this destination completes it): " + e.error.Error()
}

// takenBack notes that the stable names are as before.
func (p *publisher) takenBack(ctx context.Context) error {
	if s := p.index.Switching; s.From == s.To {
		return nil // a set with other documents than before, which the index has already: the next command sets them
	}
	p.index.Switching = nil
	return p.index.save(ctx, p.store)
}

// order is that of the switch: each architecture's initramfs, then at once its
// kernel, so that whoever gets the new kernel gets the new initramfs; what
// describes them comes last, hook.json after its signature.
func order(files []Object) []Object {
	rank := func(o Object) int {
		switch {
		case o.Name == build.ManifestName:
			return 5
		case o.Name == sign.Name:
			return 4
		case slices.Contains(verify.Documents(), o.Name):
			return 3
		case o.Role == "initramfs":
			return 0
		case o.Role == "kernel":
			return 1
		}
		return 2
	}
	pair := func(o Object) string { // vmlinuz-x86_64 and initramfs-x86_64
		if r := rank(o); r > 1 {
			return "~"
		}
		_, suffix, _ := strings.Cut(o.Name, "-")
		return suffix
	}
	sorted := slices.Clone(files)
	slices.SortStableFunc(sorted, func(a, b Object) int {
		return cmp.Or(cmp.Compare(pair(a), pair(b)), cmp.Compare(rank(a), rank(b)))
	})
	return sorted
}

func (e *Entry) has(o Object) bool {
	return e != nil && slices.ContainsFunc(e.Files, func(f Object) bool { return f.Name == o.Name && f.SHA256 == o.SHA256 })
}

func goneNames(from, to *Entry) (gone []string) {
	if from == nil {
		return nil
	}
	for _, f := range from.Files {
		if !slices.ContainsFunc(to.Files, func(o Object) bool { return o.Name == f.Name }) {
			gone = append(gone, f.Name)
		}
	}
	return gone
}

// obsolete are the stable names to remove: those of the set before, and what
// would describe another set than this one, whoever put it there (hooksmith
// sign, a copy by hand).
func obsolete(from, to *Entry) []string {
	gone := goneNames(from, to)
	for _, name := range append(verify.Documents(), sign.Name) {
		if to.index(name) < 0 && !slices.Contains(gone, name) {
			gone = append(gone, name)
		}
	}
	return gone
}

// names are those of a set's files.
func (e *Entry) names() []string {
	names := make([]string, len(e.Files))
	for i, f := range e.Files {
		names[i] = f.Name
	}
	return names
}

// stable makes one stable name an object of a set.
func (p *publisher) stable(ctx context.Context, id string, o Object, local *set) error {
	err := p.store.Copy(ctx, id+"/"+o.Name, o.Name)
	if !errors.Is(err, store.ErrUnsupported) {
		return err
	}
	// The server cannot copy: the bytes go once more, in one request.
	if local == nil {
		return p.spool(ctx, id, o)
	}
	content, done, err := local.content(o.Name)
	if err != nil {
		return err
	}
	err = p.store.Put(ctx, o.Name, "", o.Size, &upload{ReaderAt: content, ctx: ctx, flow: p.flow, task: silent{}})
	if err = errors.Join(err, done()); err != nil {
		return err
	}
	return p.verify(ctx, o.Name, o)
}

// spool copies by way of a temporary file.
func (p *publisher) spool(ctx context.Context, id string, o Object) (err error) {
	tmp, err := os.CreateTemp("", "hooksmith-publish-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tmp.Close(), os.Remove(tmp.Name())) }()
	r := &continued{ctx: ctx, p: p, name: id + "/" + o.Name, size: o.Size}
	defer r.Close()
	d := &download{Reader: &tee{r, tmp}, ctx: ctx, flow: p.flow, task: silent{}}
	if err := verify.Check(ctx, verify.File{Name: o.Name, Size: o.Size, SHA256: o.SHA256}, d); err != nil {
		return err
	}
	if err := p.store.Put(ctx, o.Name, "", o.Size, &upload{ReaderAt: tmp, ctx: ctx, flow: p.flow, task: silent{}}); err != nil {
		return err
	}
	return p.verify(ctx, o.Name, o)
}

type tee struct {
	r interface{ Read([]byte) (int, error) }
	w *os.File
}

func (t *tee) Read(b []byte) (int, error) {
	n, err := t.r.Read(b)
	if _, werr := t.w.Write(b[:n]); werr != nil {
		return 0, werr
	}
	return n, err
}

// undo takes back the steps of a switch that failed, the last first.
func (p *publisher) undo(ctx context.Context, from *Entry, steps []Object) error {
	var failed error
	for _, o := range slices.Backward(steps) {
		if from.has(o) {
			continue
		}
		var err error
		if i := from.index(o.Name); i >= 0 {
			err = p.stable(ctx, from.ID, from.Files[i], nil)
		} else {
			err = p.store.Delete(ctx, o.Name)
		}
		failed = errors.Join(failed, err)
	}
	if failed != nil {
		return &stuckError{failed}
	}
	return p.takenBack(ctx)
}

func (e *Entry) index(name string) int {
	if e == nil {
		return -1
	}
	return slices.IndexFunc(e.Files, func(f Object) bool { return f.Name == name })
}

// repair completes a switch that was cut off: the set it was to is complete.
func (p *publisher) repair(ctx context.Context) error {
	s := p.index.Switching
	if s == nil {
		return nil
	}
	to := p.index.find(s.To)
	if !to.Complete {
		p.index.Switching = nil
		return p.index.save(ctx, p.store)
	}
	if p.opt.Log != nil {
		p.opt.Log.Warn("a switch was cut off; completing it", "from", s.From, "to", s.To)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), switchTime)
	defer cancel()
	if err := p.setAll(ctx, p.index.find(s.From), to); err != nil {
		return err
	}
	p.index.Current, p.index.Switching = s.To, nil
	return p.index.save(ctx, p.store)
}

// setAll sets all names: which of them mean what is not known, so nothing is
// taken back if that fails.
func (p *publisher) setAll(ctx context.Context, from, to *Entry) error {
	if turner, ok := store.Unwrap(p.store).(store.Turner); ok {
		err := p.opt.Retry.Do(ctx, "switching", func() error { return turner.Turn(ctx, to.ID, to.names(), obsolete(from, to)) })
		if !errors.Is(err, store.ErrUnsupported) {
			return err
		}
	}
	if _, err := p.nameByName(ctx, nil, to, nil); err != nil {
		return err
	}
	return p.remove(ctx, obsolete(from, to))
}

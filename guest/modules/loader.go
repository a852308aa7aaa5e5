package modules

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"hooksmith/guest/modalias"
)

// parallel is how many modules are loaded at a time beside those that have an order. Many drivers sleep while their hardware resets, so it pays to have
// more than there are processors; far more would only take the processors away from the services that start meanwhile.
func parallel() int { return min(2*runtime.NumCPU(), 8) }

// ErrUnknown is a name that is neither a module nor the alias of one.
var ErrUnknown = errors.New("no such module")

// Loader loads the modules of the running kernel. It is safe for concurrent use.
type Loader struct {
	index  *index
	policy *Policy
	insert func(file, params string) error
	sys    string // /sys

	// Logf hears of modules that could not be loaded; nil is silent.
	Logf func(format string, args ...any)

	loaded  atomic.Int64
	mu      sync.Mutex
	pending map[string]*attempt
	// lanes are held while a driver of that kind is being inserted, see lane.
	lanes map[string]*sync.Mutex
}

// attempt is a module being loaded, or one that has been.
type attempt struct {
	done chan struct{}
	err  error
}

// Open makes a loader for the modules in dir, such as /lib/modules/RELEASE. The policy gets the softdeps of dir.
func Open(dir string, policy *Policy) (*Loader, error) {
	x, err := openIndex(dir)
	if err != nil {
		return nil, err
	}
	if text, err := readText(filepath.Join(dir, "modules.softdep")); err == nil {
		policy.Read(text)
	}
	return &Loader{
		index: x, policy: policy, insert: insertFile, sys: "/sys",
		pending: map[string]*attempt{}, lanes: map[string]*sync.Mutex{"net": {}, "storage": {}},
	}, nil
}

// Loaded is how many modules this loader has inserted.
func (l *Loader) Loaded() int { return int(l.loaded.Load()) }

// Load loads a module by name or alias, and first what it needs. A module that is there already, or is part of the
// kernel, is a success; the blacklist does not count for a name given by a person, as in modprobe.
func (l *Loader) Load(name string) error {
	plan := l.plan(name)
	if len(plan) == 0 {
		if l.index.builtin(modalias.ModuleName(name)) {
			return nil
		}
		return fmt.Errorf("loading %s: %w", name, ErrUnknown)
	}
	return l.run(plan)
}

// LoadAll loads modules by name, as many at a time as make sense; what fails is logged. NIC drivers are loaded one after
// the other in the order given, and so are storage drivers: it decides who becomes eth0 and sda. All but NIC drivers
// leave the processor to whoever wants it, for services start meanwhile and want the network before they want a disk.
func (l *Loader) LoadAll(ctx context.Context, names []string) {
	lanes := map[string][]string{}
	for _, name := range names {
		lane := l.lane(name)
		lanes[lane] = append(lanes[lane], name)
	}
	var group errgroup.Group
	group.SetLimit(len(l.lanes) + parallel())
	for _, kind := range []string{"net", "storage"} {
		if ordered := lanes[kind]; len(ordered) > 0 {
			group.Go(func() error {
				if kind != "net" {
					defer politely()()
				}
				l.lanes[kind].Lock()
				defer l.lanes[kind].Unlock()
				for _, name := range ordered {
					l.loadLogged(ctx, name)
				}
				return nil
			})
		}
	}
	for _, name := range lanes[""] {
		group.Go(func() error {
			defer politely()()
			l.loadLogged(ctx, name)
			return nil
		})
	}
	_ = group.Wait()
}

// politely makes this goroutine, with the kernel's work for it, give way to others until the function that it returns
// is called.
func politely() (end func()) {
	const nice = 10
	runtime.LockOSThread()
	_ = unix.Setpriority(unix.PRIO_PROCESS, 0, nice) // of the thread, on Linux
	return func() {
		_ = unix.Setpriority(unix.PRIO_PROCESS, 0, 0)
		runtime.UnlockOSThread()
	}
}

func (l *Loader) loadLogged(ctx context.Context, name string) {
	if ctx.Err() != nil {
		return
	}
	if err := l.Load(name); err != nil && l.Logf != nil {
		l.Logf("module %v", err)
	}
}

// lane says in which order of its own a module is to be loaded: "net", "storage" or none.
func (l *Loader) lane(name string) string {
	file := l.index.deps[modalias.ModuleName(name)].path
	for _, l := range [...]struct{ folder, lane string }{
		{"drivers/net/", "net"},
		{"drivers/ata/", "storage"}, {"drivers/scsi/", "storage"}, {"drivers/block/", "storage"}, {"drivers/nvme/", "storage"},
		{"drivers/message/", "storage"}, {"drivers/mmc/", "storage"},
	} {
		if strings.Contains(file, l.folder) {
			return l.lane
		}
	}
	return ""
}

// Wanted are the modules that the modaliases of devices ask for: in the order of the devices, each once, without those
// of the blacklist.
func (l *Loader) Wanted(modaliases []string) []string {
	var names []string
	seen := map[string]bool{}
	for _, modules := range matchAliases(modaliases, l.policy.aliases.String(), l.index.aliases()) {
		for _, name := range modules {
			if !seen[name] && !l.policy.blacklist[name] {
				seen[name] = true
				names = append(names, name)
			}
		}
	}
	return names
}

// step is a module of a plan. Optional ones may fail: a softdep makes things faster or better, not possible.
type step struct {
	name     string
	optional bool
}

// plan lists what to load for name, in order: softdeps before, what modules.dep says, the module, softdeps after. The
// order is made by walking the dependencies, as modules.dep may have them in any order. It is empty for an unknown name.
func (l *Loader) plan(name string) []step {
	p := planner{loader: l, seen: map[string]bool{}}
	p.add(name, false)
	return p.steps
}

type planner struct {
	loader *Loader
	seen   map[string]bool
	steps  []step
}

func (p *planner) add(name string, optional bool) {
	for _, name := range p.loader.resolve(name) {
		if p.seen[name] {
			continue
		}
		p.seen[name] = true
		policy := p.loader.policy
		for _, soft := range policy.before[name] {
			p.add(soft, true)
		}
		for _, need := range p.loader.index.needs(name) {
			p.add(need, optional)
		}
		p.steps = append(p.steps, step{name, optional})
		for _, soft := range policy.after[name] {
			p.add(soft, true)
		}
	}
}

// resolve turns a name or alias into names of modules.
func (l *Loader) resolve(name string) []string {
	module := modalias.ModuleName(name)
	if _, ok := l.index.deps[module]; ok {
		return []string{module}
	}
	found := matchAliases([]string{name}, l.policy.aliases.String(), l.index.aliases())[0]
	return slices.DeleteFunc(slices.Clone(found), func(name string) bool {
		_, ok := l.index.deps[name]
		return !ok
	})
}

// run loads the steps of a plan in order.
func (l *Loader) run(plan []step) error {
	for _, s := range plan {
		if err := l.once(s.name); err != nil && !s.optional {
			return err
		}
	}
	return nil
}

// once inserts one module unless that has been done or is being done by somebody else, whose result it then shares. A
// failure is forgotten: with another device the module may find its hardware.
func (l *Loader) once(name string) error {
	l.mu.Lock()
	a, ok := l.pending[name]
	if !ok {
		a = &attempt{done: make(chan struct{})}
		l.pending[name] = a
	}
	l.mu.Unlock()
	if ok {
		<-a.done
		return a.err
	}
	defer close(a.done)
	if a.err = l.insertModule(name); a.err != nil {
		l.mu.Lock()
		delete(l.pending, name)
		l.mu.Unlock()
	}
	return a.err
}

func (l *Loader) insertModule(name string) error {
	if l.policy.never[name] {
		return fmt.Errorf("loading %s: forbidden by the command line or modprobe.d: %w", name, os.ErrPermission)
	}
	if l.live(name) {
		return nil
	}
	err := l.insert(l.index.file(name), strings.Join(l.policy.options[name], " "))
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("loading %s: %w", name, err)
	}
	l.loaded.Add(1)
	return nil
}

// live asks the kernel whether it has the module: inserting it again would cost unpacking it first.
func (l *Loader) live(name string) bool {
	state, err := os.ReadFile(filepath.Join(l.sys, "module", name, "initstate"))
	return err == nil && strings.TrimSpace(string(state)) == "live"
}

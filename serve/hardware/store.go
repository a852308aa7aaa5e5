package hardware

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Store holds the machines of one or more files and follows the files while
// Run runs. Lookups take no lock. A file that breaks keeps what it said
// before, and Status and the log say so, though not of the moment that an
// editor needs to save a file.
type Store struct {
	paths []string
	opt   Options

	index  atomic.Pointer[Index]
	status atomic.Pointer[Status]

	reloading   sync.Mutex // one at a time, subscribers included
	mu          sync.Mutex // of what follows
	files       map[string]*fileState
	subscribers map[int]func(Change)
	nextID      int
}

// Options of a Store. The zero value works.
type Options struct {
	Log      *slog.Logger     // nil: silent
	Debounce time.Duration    // quiet time before a changed file is read; 0: 100 ms
	Poll     time.Duration    // how often files are looked at without an event, for NFS; 0: 10 s
	Now      func() time.Time // nil: time.Now
}

// Change is what a subscriber is told.
type Change struct {
	Old, New *Index
}

// Status is what the page shows of the hardware files.
type Status struct {
	Machines   int          `json:"machines"`
	Generation int          `json:"generation"` // counts the loads that changed something
	Loaded     time.Time    `json:"loaded"`
	Files      []FileStatus `json:"files"`
	// Error is what keeps the files together from being used: an address
	// in two of them. The machines are then those of before.
	Error string `json:"error,omitempty"`
}

// Healthy reports that the machines are those of the files as they are.
func (s *Status) Healthy() bool {
	return s.Error == "" && !slices.ContainsFunc(s.Files, func(f FileStatus) bool { return f.Error != "" })
}

// FileStatus is one file.
type FileStatus struct {
	Path     string    `json:"path"`
	Machines int       `json:"machines"`
	Loaded   time.Time `json:"loaded"`          // when its data were taken
	Error    string    `json:"error,omitempty"` // why its present content is not used
	Since    time.Time `json:"since,omitzero"`  // of Error
	Notes    []string  `json:"notes,omitempty"`
}

// fileState is a file's last good data.
type fileState struct {
	FileStatus
	sum  [sha256.Size]byte // of what was looked at last, good or not
	data Data

	// doubted is when what is there now was found broken, if it is not told
	// yet; else zero.
	doubted time.Time
}

// patience is how a file that was found broken is dealt with.
type patience int

const (
	tellAtOnce patience = iota
	lookAgain           // it is told when it is still broken after doubtTime
)

// doubtTime is what an editor may take to save a file: to empty it and write
// it, or to move it away and make another.
func (o *Options) doubtTime() time.Duration { return 5 * o.Debounce }

// Open reads the files. A path may also name a folder: then all .csv, .yaml,
// .yml and .json files in it are meant, and it may be empty. An error names
// everything that is wrong; call Run to follow the files.
func Open(paths []string, opt Options) (*Store, error) {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.Debounce == 0 {
		opt.Debounce = 100 * time.Millisecond
	}
	if opt.Poll == 0 {
		opt.Poll = 10 * time.Second
	}
	s := &Store{paths: paths, opt: opt, files: map[string]*fileState{}, subscribers: map[int]func(Change){}}
	s.index.Store(&Index{})
	s.status.Store(&Status{})
	if err := s.Reload(); err != nil {
		return nil, err
	}
	return s, nil
}

// Index returns the machines of this moment, consistent among each other.
func (s *Store) Index() *Index { return s.index.Load() }

// Lookup finds a machine by MAC address, written as Machine.MAC.
func (s *Store) Lookup(mac string) (*Machine, bool) { return s.Index().Lookup(mac) }

// LookupIP finds a machine by its address.
func (s *Store) LookupIP(ip netip.Addr) (*Machine, bool) { return s.Index().LookupIP(ip) }

// All returns the machines in the order of the files. It must not be changed.
func (s *Store) All() []Machine { return s.Index().All() }

// Status returns what is loaded and what is wrong. It must not be changed.
func (s *Store) Status() *Status { return s.status.Load() }

// Subscribe calls f after every change, one call at a time, from the
// goroutine that reloads. The function it returns ends that.
func (s *Store) Subscribe(f func(Change)) (cancel func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := s.nextID
	s.nextID++
	s.subscribers[id] = f
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.subscribers, id)
	}
}

// Reload reads the files now. The error is everything that is wrong with
// them; what could be read is in use nevertheless. Subscribers must not call it.
func (s *Store) Reload() error { return s.reload(tellAtOnce) }

// look is Reload for one who looks by chance while a file is being saved. It
// returns whether to look again after doubtTime.
func (s *Store) look() (again bool) {
	_ = s.reload(lookAgain) // the store has logged what is to be said
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.files {
		again = again || !f.doubted.IsZero()
	}
	return again
}

func (s *Store) reload(p patience) error {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	s.mu.Lock()
	change, errs := s.load(p)
	subscribers := make([]func(Change), 0, len(s.subscribers))
	for _, id := range slices.Sorted(maps.Keys(s.subscribers)) {
		subscribers = append(subscribers, s.subscribers[id])
	}
	s.mu.Unlock()
	if change != nil {
		for _, f := range subscribers {
			f(*change)
		}
	}
	return errors.Join(errs...)
}

// load reads what changed and puts a new index in place if that holds
// together. The caller has the lock.
func (s *Store) load(p patience) (*Change, []error) {
	paths, errs := s.expand()
	fresh := s.forget(paths) // there are other data
	changed := fresh         // or at least there is something to say
	for _, path := range paths {
		again, err := s.read(path, p)
		changed, fresh = changed || again, fresh || again && err == nil
		if err != nil {
			errs = append(errs, err)
		}
	}
	if !changed {
		return nil, append(errs, s.conflict())
	}
	index, err := NewIndex(s.merged(paths))
	status := &Status{Loaded: s.opt.Now(), Generation: s.Status().Generation + 1}
	old := s.Index()
	switch {
	case !fresh: // a file broke: nothing of it is taken
		status.Error, index = s.Status().Error, old
		status.Loaded, status.Generation = s.Status().Loaded, s.Status().Generation
		errs = append(errs, s.conflict())
	case err == nil:
		s.index.Store(index)
		s.opt.Log.Info("hardware loaded", "machines", index.Len(), "files", len(paths))
	default:
		status.Error, index = err.Error(), old
		status.Loaded, status.Generation = s.Status().Loaded, s.Status().Generation
		errs = append(errs, err)
		s.opt.Log.Error("hardware files contradict each other; the machines of before stay in use", "error", err)
	}
	status.Machines = index.Len()
	for _, path := range paths {
		status.Files = append(status.Files, s.files[path].FileStatus)
	}
	s.status.Store(status)
	if index == old {
		return nil, errs
	}
	return &Change{Old: old, New: index}, errs
}

func (s *Store) conflict() error {
	if text := s.Status().Error; text != "" {
		return errors.New(text)
	}
	return nil
}

// merged is the last good data of all files, in their order.
func (s *Store) merged(paths []string) (all []Machine) {
	for _, path := range paths {
		all = append(all, s.files[path].data.Machines...)
	}
	return all
}

// forget drops files that left a folder; a file that was named stays.
func (s *Store) forget(paths []string) (changed bool) {
	for path := range s.files {
		if !slices.Contains(paths, path) {
			delete(s.files, path)
			changed = true
		}
	}
	return changed
}

// read brings one file up to date. A file that is as it was is not parsed
// again, whether it was good or not.
func (s *Store) read(path string, p patience) (changed bool, err error) {
	f := s.files[path]
	if f == nil {
		f = &fileState{FileStatus: FileStatus{Path: path}}
		s.files[path] = f
	}
	content, err := readFile(path)
	sum := sha256.Sum256(content)
	if err == nil && sum == f.sum {
		f.doubted = time.Time{}
		if f.Error != "" {
			return false, errors.New(f.Error)
		}
		return false, nil
	}
	var data Data
	if err == nil {
		data, err = Parse(path, content)
	} else {
		sum = [sha256.Size]byte{}
	}
	if err != nil && p == lookAgain && s.doubt(f, err) {
		return false, err
	}
	f.sum, f.doubted = sum, time.Time{}
	if err != nil {
		return s.keep(f, err), err
	}
	f.data, f.Machines, f.Notes = data, len(data.Machines), data.Notes
	f.Error, f.Since, f.Loaded = "", time.Time{}, s.opt.Now()
	for _, note := range data.Notes {
		s.opt.Log.Warn("hardware file", "note", note)
	}
	return true, nil
}

// doubt reports whether a file that was found broken may only be in the middle
// of being saved.
func (s *Store) doubt(f *fileState, err error) bool {
	if f.Error == err.Error() {
		return false // told already
	}
	now := s.opt.Now()
	if f.doubted.IsZero() {
		f.doubted = now
	}
	return now.Sub(f.doubted) < s.opt.doubtTime()
}

// keep records that the present content of a file is of no use.
func (s *Store) keep(f *fileState, err error) (changed bool) {
	if f.Error == err.Error() {
		return false
	}
	f.Error, f.Since = err.Error(), s.opt.Now()
	s.opt.Log.Error("hardware file is broken; its machines of before stay in use", "file", f.Path, "machines", f.Machines, "error", err)
	return true
}

// expand replaces folders by the files in them. A folder that cannot be read
// (any more) keeps the files it had.
func (s *Store) expand() (paths []string, errs []error) {
	for _, path := range s.paths {
		known := s.knownIn(path)
		if info, err := os.Stat(path); len(known) == 0 && (err != nil || !info.IsDir()) {
			paths = append(paths, path) // a missing file is reported when it is read
			continue
		}
		entries, err := os.ReadDir(path)
		if err != nil {
			errs = append(errs, fmt.Errorf("reading the hardware folder: %w", err))
			paths = append(paths, known...)
		}
		for _, e := range entries {
			if !e.IsDir() && isHardwareName(e.Name()) {
				paths = append(paths, filepath.Join(path, e.Name()))
			}
		}
	}
	seen := map[string]bool{}
	return slices.DeleteFunc(paths, func(p string) bool {
		twice := seen[p]
		seen[p] = true
		return twice
	}), errs
}

// knownIn is the files that came from a folder, sorted.
func (s *Store) knownIn(folder string) (paths []string) {
	for path := range s.files {
		if path != folder && filepath.Dir(path) == filepath.Clean(folder) && !slices.Contains(s.paths, path) {
			paths = append(paths, path)
		}
	}
	slices.Sort(paths)
	return paths
}

// isHardwareName leaves out what editors put beside a file while saving.
func isHardwareName(name string) bool {
	switch strings.ToLower(filepath.Ext(name)) {
	case ".csv", ".yaml", ".yml", ".json":
		return !strings.HasPrefix(name, ".")
	}
	return false
}

// readFile is bounded: a path may name anything.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("opening the hardware file: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	return data, nil
}

// Run follows the files until ctx is done. Where the system gives no
// notifications, it polls.
func (s *Store) Run(ctx context.Context) {
	w := newWatcher(s)
	defer w.close()
	w.run(ctx)
}

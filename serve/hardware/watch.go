package hardware

import (
	"context"
	"iter"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// watcher turns what happens in the files' folders into reloads. It watches
// folders, not files: editors and `mv` put another file under the name, and a
// ConfigMap changes by renaming a symbolic link (..data) two steps away.
// Whether a file really changed is seen by its content, so that an event too
// many costs a read.
type watcher struct {
	store  *Store
	notify *fsnotify.Watcher // nil: only polling
}

func newWatcher(s *Store) *watcher {
	w := &watcher{store: s}
	notify, err := fsnotify.NewWatcher()
	if err != nil {
		s.opt.Log.Warn("hardware files are polled: no file system notifications", "every", s.opt.Poll, "error", err)
		return w
	}
	w.notify = notify
	return w
}

func (w *watcher) close() {
	if w.notify != nil {
		_ = w.notify.Close()
	}
}

// run reloads when the folders have been quiet for a moment, and at least
// looks at the files at every poll.
func (w *watcher) run(ctx context.Context) {
	var events chan fsnotify.Event
	var failures chan error
	if w.notify != nil {
		events, failures = w.notify.Events, w.notify.Errors
	}
	poll := time.NewTicker(w.store.opt.Poll)
	defer poll.Stop()
	quiet := time.NewTimer(0) // a first look: what happened between Open and here
	defer quiet.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-events:
			if e.Op != fsnotify.Chmod {
				quiet.Reset(w.store.opt.Debounce)
			}
		case err := <-failures:
			w.store.opt.Log.Warn("watching hardware files", "error", err) // events were lost: look now
			quiet.Reset(w.store.opt.Debounce)
		case <-quiet.C:
			w.look(quiet)
		case <-poll.C:
			w.look(quiet)
		}
	}
}

// look has the files looked at, and again by the timer if one may be in the
// middle of being saved.
func (w *watcher) look(quiet *time.Timer) {
	w.refresh()
	if w.store.look() {
		quiet.Reset(w.store.opt.doubtTime())
	}
}

// refresh watches the folders through which the files are reached now. A
// folder that was replaced is gone from the list of fsnotify and is added again.
func (w *watcher) refresh() {
	if w.notify == nil {
		return
	}
	want := map[string]bool{}
	for _, path := range w.store.paths {
		for folder := range foldersOf(path) {
			want[folder] = true
		}
	}
	have := map[string]bool{}
	for _, folder := range w.notify.WatchList() {
		have[folder] = true
		if !want[folder] {
			_ = w.notify.Remove(folder)
		}
	}
	for folder := range want {
		if !have[folder] {
			_ = w.notify.Add(folder) // a missing folder comes with the next poll
		}
	}
}

// foldersOf yields the folder of path, of each symbolic link on the way, and
// of the file at the end; for a folder itself too.
func foldersOf(path string) iter.Seq[string] {
	return func(yield func(string) bool) {
		const most = 16 // links, like a loop of them
		for range most {
			if !yield(filepath.Dir(path)) {
				return
			}
			next, ok := followOne(path)
			if !ok {
				break
			}
			path = next
		}
		if isFolder(path) {
			yield(path)
		}
	}
}

package lease

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"syscall"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

var (
	metaBucket   = []byte("meta")
	leasesBucket = []byte("leases")
	formatKey    = []byte("format")
	journalKey   = []byte("journal") // name of the journal's frames that the leases bucket lacks
	format       = []byte("hooksmith leases 1")
)

// fileMode: who has had which address is nobody else's business.
const fileMode = 0o600

// openFile opens or makes the file and its journal and reads all of them.
func openFile(path string, now moment, opt Options) (*bolt.DB, *journal, []*record, error) {
	info, statErr := os.Stat(path)
	var db *bolt.DB
	err := guard(func() (err error) {
		// Opened for writing, bbolt changes a file that has no list of free pages,
		// and walks it on a goroutine whose panics nobody can catch. Ours have
		// the list; so a look first whether it is ours.
		if statErr == nil && info.Mode().IsRegular() && info.Size() > 0 {
			if err := identify(path, opt); err != nil {
				return err
			}
		}
		db, err = bolt.Open(path, fileMode, &bolt.Options{Timeout: opt.LockTimeout, FreelistType: bolt.FreelistMapType})
		return err
	})
	if err != nil {
		return nil, nil, nil, explain(path, err)
	}
	var f *journal
	var list []*record
	err = guard(func() (err error) { f, list, err = readAll(db, path, now, opt); return err })
	if err == nil && errors.Is(statErr, os.ErrNotExist) {
		err = syncFolder(path)
	}
	if err != nil {
		if f != nil {
			_ = f.file.Close()
		}
		_ = guard(db.Close)
		return nil, nil, nil, explain(path, err)
	}
	return db, f, list, nil
}

// readAll reads the database and the journal, and brings the first up to the
// second.
func readAll(db *bolt.DB, path string, now moment, opt Options) (*journal, []*record, error) {
	list, name, err := load(db, now)
	if err != nil {
		return nil, nil, err
	}
	f, data, err := openJournal(path)
	if err != nil {
		return nil, nil, err
	}
	entries, end, damaged := frames(data, name)
	if damaged > 0 {
		opt.Log.Error("the journal of the leases is damaged; what stands in the damaged part is lost, machines ask again", "file", f.path, "bytes", damaged)
	}
	list, changes, err := replay(list, entries, now)
	if err != nil {
		return f, nil, err
	}
	f.begin(newName())
	err = prepare(db, &list, changes, f.name, now, opt)
	if errors.Is(err, syscall.ENOSPC) && len(entries) > 0 {
		// On a full disk the journal goes on; it is all there.
		opt.Log.Error("the leases stay in the journal for now", "file", f.path, "error", err)
		f.name, f.at, f.limit, err = name, int64(end), int64(end)+journalLimit, nil
		for _, ch := range changes {
			f.ahead[ch.ip] = true
		}
	}
	return f, list, err
}

// replay applies what the journal has to what the database has, and returns what
// has changed.
func replay(list []*record, entries []written, now moment) ([]*record, []change, error) {
	if len(entries) == 0 {
		return list, nil, nil
	}
	latest := map[uint32]*record{}
	for _, e := range entries {
		if latest[e.ip] = nil; len(e.value) == 0 {
			continue
		}
		r, err := decode(key(e.ip), e.value, now)
		if err != nil {
			return nil, nil, fmt.Errorf("%w (address %v in the journal)", err, address(e.ip))
		}
		latest[e.ip] = r
	}
	all := make([]*record, 0, len(list)+len(latest))
	for _, r := range list {
		if _, changed := latest[r.ip]; !changed {
			all = append(all, r)
		}
	}
	changes := make([]change, 0, len(latest))
	for ip, r := range latest {
		if changes = append(changes, change{ip, r}); r != nil {
			all = append(all, r)
		}
	}
	byIP := func(a, b *record) int { return cmp.Compare(a.ip, b.ip) }
	slices.SortFunc(all, byIP)
	return all, changes, nil
}

// explain says what to do about a file that cannot be opened.
func explain(path string, err error) error {
	var damage *damageError
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return fmt.Errorf("opening the leases %s: another process has the file open: stop the other hooksmith, or use another state folder", path)
	case errors.Is(err, errForeign):
		return fmt.Errorf("opening the leases %s: %w: move it away or use another state folder", path, err)
	case errors.As(err, &damage), errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrChecksum),
		errors.Is(err, bolterrors.ErrVersionMismatch), errors.Is(err, errRecord):
		return fmt.Errorf("opening the leases %s: not a lease file, or a damaged one (%w): put a backup in its place, or move it away to begin without leases; "+
			"machines that run ask for their addresses again and get them", path, err)
	}
	if errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("opening the leases %s: %w: the file and its folder must be writable for the user that hooksmith runs as", path, err)
	}
	return fmt.Errorf("opening the leases %s: %w", path, err)
}

var errForeign = errors.New("the file is another program's database")

// damageError is a panic or a memory fault inside of bbolt.
type damageError struct {
	cause any
}

func (e *damageError) Error() string { return fmt.Sprint(e.cause) }

// guard runs f and turns bbolt's panics into errors; so, too, the faults of a
// memory map whose file is shorter than its pages say.
func guard(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if cause := recover(); cause != nil {
			err = &damageError{cause}
		}
	}()
	return f()
}

// identify looks whether a file is ours, without changing it.
func identify(path string, opt Options) error {
	db, err := bolt.Open(path, fileMode, &bolt.Options{Timeout: opt.LockTimeout, ReadOnly: true})
	if err != nil {
		return err
	}
	defer db.Close()
	return db.View(func(tx *bolt.Tx) error {
		_, err := ours(tx)
		return err
	})
}

// ours returns the bucket of the leases, or nil if there is nothing in the file.
func ours(tx *bolt.Tx) (*bolt.Bucket, error) {
	if first, _ := tx.Cursor().First(); first == nil {
		return nil, nil
	}
	meta, leases := tx.Bucket(metaBucket), tx.Bucket(leasesBucket)
	if meta == nil || leases == nil {
		return nil, errForeign
	}
	if found := meta.Get(formatKey); string(found) != string(format) {
		return nil, fmt.Errorf("%w (its format is %.40q, this hooksmith knows %q)", errForeign, found, format)
	}
	return leases, nil
}

// load reads every record, and the name of the journal that comes after them.
func load(db *bolt.DB, now moment) (list []*record, name [8]byte, err error) {
	err = db.View(func(tx *bolt.Tx) error {
		leases, err := ours(tx)
		if leases == nil || err != nil {
			return err
		}
		copy(name[:], tx.Bucket(metaBucket).Get(journalKey))
		return leases.ForEach(func(key, value []byte) error {
			r, err := decode(key, value, now)
			if err != nil {
				return fmt.Errorf("%w (key %x)", err, key)
			}
			list = append(list, r)
			return nil
		})
	})
	return list, name, err
}

// prepare makes a new file ours, writes what the journal had, and drops what is
// too old to be of use.
func prepare(db *bolt.DB, list *[]*record, changes []change, journal [8]byte, now moment, opt Options) error {
	kept := make([]*record, 0, len(*list))
	for _, r := range *list {
		if plus(r.end, opt.Retain) <= now.elapsed {
			changes = append(changes, change{ip: r.ip})
		} else {
			kept = append(kept, r)
		}
	}
	*list = kept
	return db.Update(func(tx *bolt.Tx) error {
		meta, err := tx.CreateBucketIfNotExists(metaBucket)
		if err != nil {
			return err
		}
		if _, err := tx.CreateBucketIfNotExists(leasesBucket); err != nil {
			return err
		}
		if err := meta.Put(formatKey, format); err != nil {
			return err
		}
		return putAll(tx, changes, journal, now)
	})
}

func key(ip uint32) []byte { return binary.BigEndian.AppendUint32(nil, ip) }

// transaction writes the changes; they are on disk when it returns nil.
func (s *Store) transaction(c *committer, changes []change, now moment) error {
	j := s.journal
	frame := j.frame(changes, now)
	switch size := int64(len(frame)); {
	case size > journalLimit:
		return s.fold(c, changes, now)
	case j.at > 0 && j.at+size > j.limit:
		err := s.fold(c, nil, now)
		if c.broken != nil || j.at > maxJournal/2 {
			return err
		}
		if err != nil { // a full disk, maybe: as long as there is room in the journal, it goes on
			s.opt.Log.Error("the leases stay in the journal for now", "file", j.path, "error", err)
			j.limit += journalLimit
			break
		}
		frame = j.frame(changes, now)
	}
	if err := j.write(frame); err != nil {
		return err
	}
	for _, ch := range changes {
		j.ahead[ch.ip] = true
	}
	return nil
}

// fold brings the database up to the journal and adds changes, and begins the
// journal anew. It fails without a harm: all that was written stays in the
// journal.
func (s *Store) fold(c *committer, changes []change, now moment) error {
	all := slices.Clone(changes)
	given := make(map[uint32]bool, len(changes))
	for _, ch := range changes {
		given[ch.ip] = true
	}
	s.mu.Lock()
	for ip := range s.journal.ahead {
		if !given[ip] {
			all = append(all, change{ip, s.records.byIP[ip]})
		}
	}
	s.mu.Unlock()
	name := newName()
	err := guard(func() error {
		return s.db.Update(func(tx *bolt.Tx) error { return putAll(tx, all, name, now) })
	})
	var damage *damageError
	switch {
	case errors.As(err, &damage):
		// bbolt may have kept its locks: another attempt could wait for ever.
		c.broken = fmt.Errorf("the file %s is damaged or its disk cannot be read (%w): check the disk and start again", s.path, err)
		s.setBroken()
	case err == nil:
		s.journal.begin(name)
	}
	return err
}

// putAll writes changes, in the order of the addresses, and the name of the
// journal that comes after them.
func putAll(tx *bolt.Tx, changes []change, journal [8]byte, now moment) error {
	slices.SortFunc(changes, func(a, b change) int { return cmp.Compare(a.ip, b.ip) })
	leases := tx.Bucket(leasesBucket)
	for _, ch := range changes {
		if err := put(leases, ch, now); err != nil {
			return err
		}
	}
	return tx.Bucket(metaBucket).Put(journalKey, journal[:])
}

func put(leases *bolt.Bucket, ch change, now moment) error {
	if ch.rec == nil {
		return leases.Delete(key(ch.ip))
	}
	return leases.Put(key(ch.ip), ch.rec.encode(now))
}

// syncFolder makes the name of a new file as durable as its content.
func syncFolder(path string) error {
	f, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

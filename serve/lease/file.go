package lease

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

var (
	metaBucket   = []byte("meta")
	leasesBucket = []byte("leases")
	formatKey    = []byte("format")
	format       = []byte("hooksmith leases 1")
)

// fileMode: who has had which address is nobody else's business.
const fileMode = 0o600

// openFile opens or makes the file and reads all of it.
func openFile(path string, now moment, opt Options) (*bolt.DB, []*record, error) {
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
		return nil, nil, explain(path, err)
	}
	var list []*record
	if err = guard(func() (err error) { list, err = load(db, now); return err }); err == nil {
		err = guard(func() error { return prepare(db, &list, now, opt) })
	}
	if err == nil && errors.Is(statErr, os.ErrNotExist) {
		err = syncFolder(filepath.Dir(path))
	}
	if err != nil {
		_ = guard(db.Close)
		return nil, nil, explain(path, err)
	}
	return db, list, nil
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

// load reads every record.
func load(db *bolt.DB, now moment) (list []*record, err error) {
	err = db.View(func(tx *bolt.Tx) error {
		leases, err := ours(tx)
		if leases == nil || err != nil {
			return err
		}
		return leases.ForEach(func(key, value []byte) error {
			r, err := decode(key, value, now)
			if err != nil {
				return fmt.Errorf("%w (key %x)", err, key)
			}
			list = append(list, r)
			return nil
		})
	})
	return list, err
}

// prepare makes a new file ours and drops what is too old to be of use.
func prepare(db *bolt.DB, list *[]*record, now moment, opt Options) error {
	kept := make([]*record, 0, len(*list))
	var old []*record
	for _, r := range *list {
		if plus(r.end, opt.Retain) <= now.elapsed {
			old = append(old, r)
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
		leases, err := tx.CreateBucketIfNotExists(leasesBucket)
		if err != nil {
			return err
		}
		for _, r := range old {
			if err := leases.Delete(key(r.ip)); err != nil {
				return err
			}
		}
		return meta.Put(formatKey, format)
	})
}

func key(ip uint32) []byte { return binary.BigEndian.AppendUint32(nil, ip) }

// transaction writes the changes; they are on disk when it returns nil.
func (s *Store) transaction(c *committer, changes []change, now moment) error {
	err := guard(func() error {
		return s.db.Update(func(tx *bolt.Tx) error {
			leases := tx.Bucket(leasesBucket)
			for _, ch := range changes {
				if err := put(leases, ch, now); err != nil {
					return err
				}
			}
			return nil
		})
	})
	var damage *damageError
	if errors.As(err, &damage) {
		// bbolt may have kept its locks: another attempt could wait for ever.
		c.broken = fmt.Errorf("the file %s is damaged or its disk cannot be read (%w): check the disk and start again", s.path, err)
		s.setBroken()
	}
	return err
}

func put(leases *bolt.Bucket, ch change, now moment) error {
	if ch.rec == nil {
		return leases.Delete(key(ch.ip))
	}
	return leases.Put(key(ch.ip), ch.rec.encode(now))
}

// syncFolder makes a new file's name as durable as its content.
func syncFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

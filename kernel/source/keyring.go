package source

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// Bounds of what is read of OpenPGP.
const (
	maxKeyring   = 4 << 20
	maxSignature = 64 << 10
)

// Keyring holds the keys whose signatures are believed.
type Keyring struct {
	keys openpgp.EntityList
}

// Add adds the public keys of a file, armored or binary. name is for errors.
func (k *Keyring) Add(name string, data []byte) error {
	if len(data) > maxKeyring {
		return fmt.Errorf("keyring %s: larger than %d bytes", name, maxKeyring)
	}
	read := openpgp.ReadKeyRing
	if bytes.Contains(data, []byte("-----BEGIN PGP")) {
		read = openpgp.ReadArmoredKeyRing
	}
	keys, err := read(bytes.NewReader(data))
	if err != nil {
		return fmt.Errorf("keyring %s: %w (want what gpg --export writes)", name, err)
	}
	if len(keys) == 0 {
		return fmt.Errorf("keyring %s: it has no key", name)
	}
	k.keys = append(k.keys, keys...)
	return nil
}

// Fingerprints returns the primary keys in hexadecimal, in order.
func (k *Keyring) Fingerprints() []string {
	out := make([]string, len(k.keys))
	for i, e := range k.keys {
		out[i] = fmt.Sprintf("%X", e.PrimaryKey.Fingerprint)
	}
	return out
}

// knows reports whether one of the keys, or their subkeys, has this id and may
// sign.
func (k *Keyring) knows(id uint64) bool {
	return len(k.keys.KeysByIdUsage(id, packet.KeyFlagSign)) > 0
}

// unknownKeyError says that nobody vouches for a signature.
type unknownKeyError struct{ ids []uint64 }

func (e *unknownKeyError) Error() string {
	if len(e.ids) == 0 {
		return "it holds no signature that names its key"
	}
	text := "it is signed by a key that is not among those that are trusted:"
	for _, id := range e.ids {
		text += fmt.Sprintf(" %016X", id)
	}
	return text + " (--keyring FILE adds keys)"
}

// signatures reads a detached signature, armored or binary, and returns those
// packets of it that the keyring has keys for. It is an *unknownKeyError if
// there are none.
func (k *Keyring) signatures(data []byte) ([]*packet.OpaquePacket, error) {
	if len(data) > maxSignature {
		return nil, fmt.Errorf("signature: larger than %d bytes", maxSignature)
	}
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte("-----BEGIN PGP")) {
		block, err := armor.Decode(bytes.NewReader(data))
		if err != nil || block.Type != openpgp.SignatureType {
			return nil, errors.New("damaged signature: its armor cannot be read")
		}
		return k.known(packet.NewOpaqueReader(block.Body))
	}
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte("<")) {
		return nil, errors.New("a web page stands where the signature should be")
	}
	return k.known(packet.NewOpaqueReader(bytes.NewReader(data)))
}

// known returns the signatures by keys of the ring.
func (k *Keyring) known(packets *packet.OpaqueReader) ([]*packet.OpaquePacket, error) {
	var known []*packet.OpaquePacket
	unknown := &unknownKeyError{}
	for n := 0; n < 64; n++ {
		p, err := packets.Next()
		if err != nil {
			break // the end, or damage after it
		}
		parsed, err := p.Parse()
		sig, ok := parsed.(*packet.Signature)
		if err != nil || !ok {
			return nil, errors.New("damaged signature")
		}
		if sig.IssuerKeyId == nil {
			continue
		}
		if k.knows(*sig.IssuerKeyId) {
			known = append(known, p)
		} else {
			unknown.ids = append(unknown.ids, *sig.IssuerKeyId)
		}
	}
	if len(known) == 0 {
		return nil, unknown
	}
	return known, nil
}

func day(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 MST") }

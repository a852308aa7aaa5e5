package debian

import (
	"bytes"
	"crypto"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	pgperrors "github.com/ProtonMail/go-crypto/openpgp/errors"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// maxKeyring bounds one key file.
const maxKeyring = 1 << 20

// Keyring is the set of keys that may sign a release.
type Keyring struct {
	keys openpgp.EntityList
}

// ShippedKeys reads the keys of Debian's archive that come with hooksmith: the
// folder keyrings of its configs.
func ShippedKeys(configs fs.FS) (*Keyring, error) {
	dir, err := fs.Sub(configs, "keyrings")
	if err != nil {
		return nil, err
	}
	return ReadKeyring(dir)
}

// ReadKeyring reads all keys of fsys: armored ones from *.asc, binary ones
// from *.gpg in its root.
func ReadKeyring(fsys fs.FS) (*Keyring, error) {
	entries, err := fs.ReadDir(fsys, ".")
	if err != nil {
		return nil, fmt.Errorf("reading archive keys: %w", err)
	}
	k := &Keyring{}
	for _, e := range entries {
		read := openpgp.ReadKeyRing
		switch path.Ext(e.Name()) {
		case ".gpg":
		case ".asc":
			read = openpgp.ReadArmoredKeyRing
		default:
			continue
		}
		data, err := readBounded(fsys, e.Name(), maxKeyring)
		if err != nil {
			return nil, err
		}
		keys, err := read(bytes.NewReader(data))
		if err != nil {
			return nil, fmt.Errorf("reading archive key %s: %w", e.Name(), err)
		}
		k.keys = append(k.keys, keys...)
	}
	if len(k.keys) == 0 {
		return nil, errors.New("no archive keys: without *.asc or *.gpg files no release can be verified")
	}
	return k, nil
}

// Fingerprints returns the primary keys in hexadecimal, in file order.
func (k *Keyring) Fingerprints() []string {
	out := make([]string, len(k.keys))
	for i, e := range k.keys {
		out[i] = fmt.Sprintf("%X", e.PrimaryKey.Fingerprint)
	}
	return out
}

// clearStart is where a clear-signed file must begin. Text before the
// signature or after it is not covered by it, so it is not tolerated.
var clearStart = []byte("-----BEGIN PGP SIGNED MESSAGE-----")

// verify returns the text that a clear-signed file signs, and who signed it.
// Debian signs with the keys of two releases; one good signature by a key of
// the ring is enough, as for apt.
func (k *Keyring) verify(data []byte, now time.Time) (text []byte, signers []string, err error) {
	block, rest := clearsign.Decode(data)
	if block == nil || !bytes.HasPrefix(data, clearStart) || len(bytes.TrimSpace(rest)) > 0 {
		return nil, nil, errors.New("not a clear-signed file (a captive portal or proxy may have answered instead)")
	}
	packets := packet.NewOpaqueReader(block.ArmoredSignature.Body)
	var problems []error
	for {
		p, err := packets.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, nil, fmt.Errorf("damaged signature: %w", err)
		}
		signer, err := k.verifyOne(block.Bytes, p, now)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		signers = append(signers, signer)
	}
	if len(signers) > 0 {
		return block.Plaintext, signers, nil
	}
	if len(problems) == 0 {
		problems = append(problems, errors.New("it holds no signature"))
	}
	return nil, nil, errors.Join(problems...)
}

// strongHashes are those a signature may use; SHA-1 and MD5 can be forged.
var strongHashes = []crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512}

func (k *Keyring) verifyOne(signed []byte, p *packet.OpaquePacket, now time.Time) (string, error) {
	parsed, err := p.Parse()
	sig, ok := parsed.(*packet.Signature)
	if err != nil || !ok {
		return "", errors.New("damaged signature")
	}
	switch ahead := sig.CreationTime.Sub(now); {
	case ahead > futureTolerance:
		return "", fmt.Errorf("signed %s, which is in the future: check the clock of this machine (%s)", day(sig.CreationTime), day(now))
	case ahead > 0: // the clock is a little slow, not wrong
		now = sig.CreationTime
	}
	var raw bytes.Buffer
	if err := p.Serialize(&raw); err != nil {
		return "", err
	}
	config := &packet.Config{Time: func() time.Time { return now }}
	_, signer, err := openpgp.VerifyDetachedSignatureAndHash(k.keys, bytes.NewReader(signed), &raw, strongHashes, config)
	switch {
	case errors.Is(err, pgperrors.ErrUnknownIssuer):
		return "", fmt.Errorf("signed by a key that is not among the archive keys%s", issuer(sig))
	case err != nil:
		return "", fmt.Errorf("bad signature%s: %w", issuer(sig), err)
	}
	return fmt.Sprintf("%X", signer.PrimaryKey.Fingerprint), nil
}

// issuer names the key of a signature for an error message.
func issuer(sig *packet.Signature) string {
	if sig.IssuerKeyId == nil {
		return ""
	}
	return fmt.Sprintf(" (key %016X)", *sig.IssuerKeyId)
}

func day(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 MST") }

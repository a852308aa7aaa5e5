package source

import (
	"bytes"
	"crypto"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	pgperrors "github.com/ProtonMail/go-crypto/openpgp/errors"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// strongHashes are those a signature may use; SHA-1 and MD5 can be forged.
var strongHashes = []crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512}

// futureTolerance is how much later than now a signature may have been made:
// a clock may be a little slow.
const futureTolerance = 24 * time.Hour

// Proof is a detached signature by a key that is trusted, over content that is
// not there yet.
type Proof struct {
	keys      *Keyring
	signature []byte // one packet
	now       time.Time
}

// NewProof reads a detached signature, armored or binary. It is an error if
// none of the keys has made it; whether it is right, check says. now is the
// time at which keys must be valid.
func NewProof(keys *Keyring, signature []byte, now time.Time) (*Proof, error) {
	packets, err := keys.signatures(signature)
	if err != nil {
		return nil, err
	}
	return newProof(keys, packets[0], now)
}

func newProof(keys *Keyring, p *packet.OpaquePacket, now time.Time) (*Proof, error) {
	parsed, err := p.Parse()
	sig, ok := parsed.(*packet.Signature)
	if err != nil || !ok {
		return nil, errors.New("damaged signature")
	}
	var raw bytes.Buffer
	if err := p.Serialize(&raw); err != nil {
		return nil, err
	}
	switch ahead := sig.CreationTime.Sub(now); {
	case ahead > futureTolerance:
		return nil, fmt.Errorf("signed %s, which is in the future: check the clock of this machine (%s)", day(sig.CreationTime), day(now))
	case ahead > 0:
		now = sig.CreationTime
	}
	return &Proof{keys, raw.Bytes(), now}, nil
}

// check lets read have the signed content and returns its error, or that of
// the signature. What read leaves unread is signed too.
func (p *Proof) check(signed io.Reader, read func(io.Reader) error) error {
	r, w := io.Pipe()
	verified := make(chan error, 1)
	go func() {
		_, err := p.verify(r)
		// The verifier reads nothing if the signature is not worth it.
		_, _ = io.Copy(io.Discard, r)
		verified <- err
	}()
	tee := io.TeeReader(signed, w)
	err := read(tee)
	if err == nil {
		_, err = io.Copy(io.Discard, tee)
	}
	if err != nil {
		w.CloseWithError(err)
		<-verified
		return err
	}
	w.Close()
	if err := <-verified; err != nil {
		return fmt.Errorf("its signature: %w", err)
	}
	return nil
}

// verify returns the fingerprint of the key that signed.
func (p *Proof) verify(signed io.Reader) (string, error) {
	config := &packet.Config{Time: func() time.Time { return p.now }}
	_, signer, err := openpgp.VerifyDetachedSignatureAndHash(p.keys.keys, signed, bytes.NewReader(p.signature), strongHashes, config)
	switch {
	case errors.Is(err, pgperrors.ErrKeyExpired):
		return "", fmt.Errorf("the key %s has expired (--keyring FILE gives a renewed one)", fingerprint(signer))
	case errors.Is(err, pgperrors.ErrKeyRevoked):
		return "", fmt.Errorf("the key %s was revoked", fingerprint(signer))
	case errors.Is(err, pgperrors.ErrUnknownIssuer):
		return "", &unknownKeyError{}
	case err != nil:
		return "", fmt.Errorf("it does not fit the content: %w", err)
	}
	return fingerprint(signer), nil
}

func fingerprint(e *openpgp.Entity) string {
	if e == nil {
		return ""
	}
	return fmt.Sprintf("%X", e.PrimaryKey.Fingerprint)
}

// clearStart is where a clear-signed file must begin. Text before the
// signature or after it is not covered by it.
var clearStart = []byte("-----BEGIN PGP SIGNED MESSAGE-----")

// clearText returns the text of a clear-signed file. signer is "" if none of
// the keys has signed it; a wrong signature by one of them is an error.
func (k *Keyring) clearText(data []byte, now time.Time) (text []byte, signer string, err error) {
	block, rest := clearsign.Decode(data)
	if block == nil || !bytes.HasPrefix(data, clearStart) || len(bytes.TrimSpace(rest)) > 0 {
		return nil, "", errors.New("not a clear-signed file (a captive portal or proxy may have answered instead)")
	}
	packets, err := k.known(packet.NewOpaqueReader(block.ArmoredSignature.Body))
	if unknown := (*unknownKeyError)(nil); errors.As(err, &unknown) {
		return block.Plaintext, "", nil
	}
	if err != nil {
		return nil, "", err
	}
	proof, err := newProof(k, packets[0], now)
	if err == nil {
		signer, err = proof.verify(bytes.NewReader(block.Bytes))
	}
	if err != nil {
		return nil, "", err
	}
	return block.Plaintext, signer, nil
}

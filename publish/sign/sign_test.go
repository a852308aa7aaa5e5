package sign_test

import (
	"crypto/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hooksmith/publish/sign"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func pair(t testing.TB, dir string) *sign.PrivateKey {
	t.Helper()
	public, private, err := sign.Generate(rand.Reader, "")
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "key"), private, 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "key.pub"), public, 0o600))
	key, err := sign.ReadPrivateKey(filepath.Join(dir, "key"), nil)
	must(t, err)
	return key
}

// TestMinisign: Debian's tool verifies ours, and we verify its.
func TestMinisign(t *testing.T) {
	tool, err := exec.LookPath("minisign")
	if err != nil {
		t.Skip("needs minisign")
	}
	dir := t.TempDir()
	key := pair(t, dir)
	message := []byte(`{"schema":1}`)
	file := filepath.Join(dir, "hook.json")
	must(t, os.WriteFile(file, message, 0o600))
	signature, err := sign.Sign(key, message, map[string]string{"sbom.spdx.json": strings.Repeat("ab", 32)}, time.Unix(1_800_000_000, 0))
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, sign.Name), signature, 0o600))
	out, err := exec.Command(tool, "-Vm", file, "-p", filepath.Join(dir, "key.pub")).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "sbom.spdx.json=abab") {
		t.Errorf("minisign does not verify ours: %v: %s", err, out)
	}
	must(t, os.WriteFile(file, append(message, ' '), 0o600))
	if exec.Command(tool, "-Vm", file, "-p", filepath.Join(dir, "key.pub")).Run() == nil {
		t.Error("minisign verifies another content")
	}
	// Its keys and signatures, by our key and by its own.
	for _, args := range [][]string{{"-G", "-W", "-f", "-p", dir + "/its.pub", "-s", dir + "/its"},
		{"-Sm", file, "-s", dir + "/its", "-x", dir + "/a.minisig"}, {"-Sm", file, "-s", dir + "/key", "-x", dir + "/b.minisig"}, {"-Slm", file, "-s", dir + "/its", "-x", dir + "/c.minisig"}} {
		if out, err := exec.Command(tool, args...).CombinedOutput(); err != nil {
			t.Fatalf("minisign %v: %v: %s", args, err, out)
		}
	}
	for _, c := range []struct{ key, signature string }{{"its.pub", "a.minisig"}, {"key.pub", "b.minisig"}, {"its.pub", "c.minisig"}} {
		public, err := sign.ReadPublicKey(filepath.Join(dir, c.key))
		must(t, err)
		signature, err := os.ReadFile(filepath.Join(dir, c.signature))
		must(t, err)
		s, err := sign.Verify(public, append(message, ' '), signature)
		if err != nil || s.Documents != nil {
			t.Errorf("%s: %+v, %v", c.signature, s, err)
		}
	}
}

func TestVerifyRefuses(t *testing.T) {
	dir := t.TempDir()
	key := pair(t, dir)
	message := []byte("content")
	signature, err := sign.Sign(key, message, map[string]string{"a": strings.Repeat("00", 32)}, time.Unix(1, 0))
	must(t, err)
	s, err := sign.Verify(key.Public(), message, signature)
	if err != nil || len(s.Documents) != 1 {
		t.Fatalf("%+v, %v", s, err)
	}
	other := pair(t, t.TempDir())
	for name, c := range map[string]struct {
		key       *sign.PublicKey
		message   string
		signature string
	}{
		"another content":  {key.Public(), "contenT", string(signature)},
		"another key":      {other.Public(), "content", string(signature)},
		"another comment":  {key.Public(), "content", strings.Replace(string(signature), "a=00", "a=11", 1)},
		"cut":              {key.Public(), "content", string(signature[:len(signature)/2])},
		"nothing":          {key.Public(), "content", ""},
		"longer than ever": {key.Public(), "content", strings.Repeat("x", 1<<20)},
	} {
		if _, err := sign.Verify(c.key, []byte(c.message), []byte(c.signature)); err == nil {
			t.Errorf("%s: verified", name)
		}
	}
}

func FuzzVerify(f *testing.F) {
	dir := f.TempDir()
	key := pair(f, dir)
	signature, err := sign.Sign(key, []byte("m"), nil, time.Unix(1, 0))
	must(f, err)
	f.Add([]byte("m"), signature)
	f.Fuzz(func(t *testing.T, message, signature []byte) {
		if _, err := sign.Verify(key.Public(), message, signature); err == nil && string(message) != "m" {
			t.Errorf("verified %q", message)
		}
		_, _ = sign.ParsePublicKey(signature)
		_, _ = sign.Claims(signature)
	})
}

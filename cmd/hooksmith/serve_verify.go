package main

import (
	"context"
	"io/fs"

	"hooksmith/build"
	"hooksmith/publish/sign"
	"hooksmith/publish/verify"
	"hooksmith/serve/web"
)

// requireSignature makes of a public key what artifacts have to pass to be
// served: hook.json is signed by it, every file is as hook.json says. Files
// that nobody vouches for are not served.
func requireSignature(path string) (web.Verify, error) {
	key, err := sign.ReadPublicKey(path)
	if err != nil {
		return nil, err
	}
	return func(files fs.FS) ([]string, error) {
		// A check ends when its files are closed.
		report, err := verify.Set(context.Background(), verify.FS(files), verify.Options{Key: key})
		if err == nil {
			err = report.Err()
		}
		if err != nil {
			return nil, err
		}
		names := []string{build.ManifestName, sign.Name}
		for _, f := range report.Files {
			if f.Vouched {
				names = append(names, f.Name)
			}
		}
		return names, nil
	}, nil
}

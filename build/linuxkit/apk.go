package linuxkit

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// apkDatabase lists the packages of an Alpine image.
const apkDatabase = "lib/apk/db/installed"

// maxApkDatabase bounds one database; a full Alpine desktop has 5 MB.
const maxApkDatabase = 64 << 20

// joinApk returns a part with all package databases of the init images joined
// if more than one has one: unpacked over one another only the last would be
// left, and `apk info` would not know the packages of the others.
func (r *Resolved) joinApk(ctx context.Context) ([]Part, error) {
	if len(r.Init) < 2 {
		return nil, nil
	}
	var joined bytes.Buffer
	count := 0
	for i, img := range r.Init {
		found, err := findFiles(ctx, img, apkDatabase)
		if err != nil {
			return nil, fmt.Errorf("init[%d]: image %s: %w", i, r.Config.Init[i].Ref, err)
		}
		file := found[apkDatabase]
		if file == nil {
			continue
		}
		if err := copyFile(&joined, file, maxApkDatabase); err != nil {
			return nil, fmt.Errorf("init[%d]: image %s: %w", i, r.Config.Init[i].Ref, err)
		}
		joined.WriteString("\n\n")
		count++
	}
	if count < 2 {
		return nil, nil
	}
	layer, err := NewLayer(r.opts.modTime(), Entry{Name: apkDatabase, Mode: 0o644, ModTime: time.Unix(0, 0), Data: joined.Bytes()})
	if err != nil {
		return nil, err
	}
	return []Part{{Location: "init", Name: "apk", Source: sourceApk, Layers: []v1.Layer{layer}}}, nil
}

// copyFile copies a file of an image that is at most limit bytes long.
func copyFile(w io.Writer, file *ImageFile, limit int64) error {
	if file.Size > limit {
		return fmt.Errorf("%s has %d bytes, more than %d", file.Name, file.Size, limit)
	}
	r, err := file.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	if _, err := io.Copy(w, r); err != nil {
		return fmt.Errorf("reading %s: %w", file.Name, noEOF(err))
	}
	return nil
}

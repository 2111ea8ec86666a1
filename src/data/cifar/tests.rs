use std::fs;

use super::super::download::tests::{Reply, serve};
use super::super::idx::tests::gzip;
use super::super::progress::tests::{notices, silence};
use super::super::sets::tests::offline;
use super::*;

/// The two sets with 2 records a training file and 1 a test file, from port 9 of the loopback address, which
/// refuses connections.
fn small(set: Cifar) -> Cifar {
    let train = (set.train.0, 2);
    Cifar { train, test: (set.test.0, 1), sources: &["http://127.0.0.1:9/"], ..set }
}

/// Records whose label bytes are 7, 3 or only 3, and whose pixels start with `first`.
fn file(set: &Cifar, name: &str, first: u8) -> Vec<u8> {
    let record = |i: usize| {
        let pixels = (0..PIXELS).map(move |p| if p == 0 { first + i as u8 } else { (p / 1024) as u8 });
        [7, 3][2 - set.label_bytes..].iter().copied().chain(pixels)
    };
    (0..set.bytes(name) / (set.label_bytes + PIXELS)).flat_map(record).collect()
}

fn write_all(set: &Cifar, folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    set.names().enumerate().for_each(|(i, n)| fs::write(folder.join(n), file(set, n, 10 * i as u8)).unwrap());
}

fn archive(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, content.as_slice()).unwrap();
    }
    gzip(&builder.into_inner().unwrap())
}

fn whole_archive(set: &Cifar) -> Vec<u8> {
    let readme = ("cifar/readme.html".to_string(), b"text".to_vec());
    let files = set.names().enumerate().map(|(i, n)| (format!("cifar/{n}"), file(set, n, 10 * i as u8)));
    archive(&std::iter::once(readme).chain(files).collect::<Vec<_>>())
}

fn open(set: &Cifar, folder: &Path, report: &mut Report) -> Result<Dataset> {
    set.open(&Places::new(set.name, Some(folder), None), &offline(), report)
}

fn silent(set: &Cifar, folder: &Path) -> Result<Dataset> {
    open(set, folder, &mut silence)
}

#[track_caller]
fn refused(result: Result<Dataset>, words: &[&str]) {
    let message = result.unwrap_err().to_string();
    for word in words {
        assert!(message.contains(word), "no {word:?} in: {message}");
    }
}

#[test]
fn files_are_found_in_the_folder_and_both_subfolders() {
    for set in [small(CIFAR10), small(CIFAR100)] {
        for below in ["", set.name, set.subfolder, &format!("{}/{}", set.name, set.subfolder)] {
            let folder = tempfile::tempdir().unwrap();
            write_all(&set, &folder.path().join(below));
            let data = silent(&set, folder.path()).unwrap();
            let files = set.train.0.len();
            assert_eq!((data.name.as_str(), data.train.count, data.test.count), (set.name, 2 * files, 1));
            assert_eq!((data.train.shape(), data.train.labels()), (Some([3, 32, 32]), Some(&vec![3; 2 * files][..])));
            assert_eq!(data.train.pixels().len(), 2 * files * PIXELS);
            // Planes stay planes, records and files in order.
            let second = &data.train.pixels()[PIXELS..2 * PIXELS];
            assert_eq!([second[0], second[1], second[1024], second[3071]], [1, 0, 1, 2]);
            assert_eq!(data.test.pixels()[0], 10 * files as u8);
        }
    }
}

#[test]
fn the_published_numbers_are_those_of_the_files() {
    assert_eq!((CIFAR10.bytes("data_batch_3.bin"), CIFAR10.bytes("test_batch.bin")), (30_730_000, 30_730_000));
    assert_eq!((CIFAR100.bytes("train.bin"), CIFAR100.bytes("test.bin")), (153_700_000, 30_740_000));
}

#[test]
fn the_archive_is_read_as_it_is_and_noted_if_unknown() {
    for set in [small(CIFAR10), small(CIFAR100)] {
        let folder = tempfile::tempdir().unwrap();
        write_all(&set, &folder.path().join("files"));
        let plain = silent(&set, &folder.path().join("files")).unwrap();
        let path = folder.path().join(set.archive);
        fs::write(&path, whole_archive(&set)).unwrap();
        let mut notice = String::new();
        assert_eq!(open(&set, folder.path(), &mut notices(&mut notice)).unwrap(), plain);
        assert!(notice.starts_with("note: not the published archive of cifar"), "{notice}");
        let sha256 = idx::hexadecimal(Sha256::new().chain_update(fs::read(&path).unwrap()));
        let set = Cifar { published: Published { bytes: 0, sha256: sha256.leak() }, ..set };
        assert_eq!(silent(&set, folder.path()).unwrap(), plain);
    }
}

#[test]
fn wrong_lengths_and_labels_are_refused_by_name() {
    let set = small(CIFAR10);
    let folder = tempfile::tempdir().unwrap();
    write_all(&set, folder.path());
    let good = file(&set, "data_batch_4.bin", 0);
    let path = folder.path().join("data_batch_4.bin");
    fs::write(&path, &good[1..]).unwrap();
    refused(silent(&set, folder.path()), &["data_batch_4.bin: has 6145 bytes", "has 6146: 2 records of 3073"]);
    let mut wrong = good;
    wrong[3073] = 10;
    fs::write(&path, &wrong).unwrap();
    refused(silent(&set, folder.path()), &["data_batch_4.bin: label 10 of record 1", "below 10 in cifar10"]);
    // The fine label counts, which comes second.
    let set = small(CIFAR100);
    write_all(&set, folder.path());
    let mut wrong = file(&set, "test.bin", 0);
    wrong[..2].copy_from_slice(&[99, 100]);
    fs::write(folder.path().join("test.bin"), &wrong).unwrap();
    refused(silent(&set, folder.path()), &["test.bin: label 100 of record 0", "below 100"]);
}

#[test]
fn a_wrong_archive_is_refused() {
    let set = small(CIFAR100);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(set.archive);
    let write = |bytes: &[u8]| fs::write(&path, bytes).unwrap();
    let whole = whole_archive(&set);
    write(&whole[..whole.len() / 2]);
    refused(silent(&set, folder.path()), &["cifar-100-binary.tar.gz", "damaged"]);
    let mut wrong_sum = whole.clone();
    wrong_sum[whole.len() - 8] ^= 1;
    write(&wrong_sum);
    refused(silent(&set, folder.path()), &["damaged"]);
    write(&archive(&[("x/train.bin".into(), file(&set, "train.bin", 0))]));
    refused(silent(&set, folder.path()), &["expected the archive cifar-100-binary.tar.gz", "found no test.bin"]);
    write(&archive(&[("x/train.bin".into(), vec![0; 100])]));
    refused(silent(&set, folder.path()), &["tar.gz/x/train.bin: has 100 bytes", "train.bin of cifar100 has 6148"]);
    // What lies beside the files is read only so far.
    let files = ["train.bin", "test.bin"].map(|n| (n.to_string(), file(&set, n, 0)));
    let large = ("large".to_string(), vec![0; 2 * SPARE_BYTES as usize]);
    write(&archive(&[files[0].clone(), files[1].clone(), large]));
    refused(silent(&set, folder.path()), &["cifar-100-binary.tar.gz"]);
}

#[test]
fn the_archive_is_downloaded_and_checked() {
    let set = small(CIFAR10);
    let content = whole_archive(&set);
    let sha256 = &*idx::hexadecimal(Sha256::new().chain_update(&content)).leak();
    let published = Published { bytes: content.len() as u64, sha256 };
    let with = |content: Vec<u8>| {
        let address = serve(move |name| match name {
            "cifar-10-binary.tar.gz" => Reply::Whole(content.clone()),
            _ => Reply::Missing,
        });
        Cifar { published, sources: vec![&*address.leak()].leak(), ..set }
    };
    let folder = tempfile::tempdir().unwrap();
    let mut corrupt = content.clone();
    corrupt[20] ^= 1;
    let mut long = content.clone();
    long.push(0);
    // Equal after decompression, but not the published file.
    let mut other = content.clone();
    other[4] ^= 1;
    for (file, word) in [(corrupt, "SHA-256"), (long, "longer than"), (other, "of the file, found")] {
        refused(open(&with(file), folder.path(), &mut |_| ()), &["cifar10", word, "--data DIR"]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
    let mut notice = String::new();
    let data = open(&with(content), folder.path(), &mut notices(&mut notice)).unwrap();
    assert!(notice.starts_with("downloading cifar10 to") && !notice.contains("note:"), "{notice}");
    assert_eq!((data.train.count, data.class_names[9].as_str()), (10, "truck"));
    // The second time nothing is fetched.
    assert_eq!(silent(&Cifar { published, ..set }, folder.path()).unwrap(), data);
}

#[test]
fn without_files_and_network_the_user_is_told_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let set = small(CIFAR100);
    fs::write(folder.path().join("test.bin"), file(&set, "test.bin", 0)).unwrap();
    let words = ["neither cifar-100-binary.tar.gz nor all of train.bin, test.bin", "127.0.0.1:9", "--data DIR"];
    refused(open(&set, folder.path(), &mut |_| ()), &words);
}

//! The guide and the other documents name nothing that does not exist: files, kernels, commands, options, links,
//! anchors. The last tests show that each of these checks can fail.

mod names;
mod page;

use std::collections::BTreeSet;

use elbo::instruments::subject::Subject;
use names::{Repository, beside};
use page::{Kind, items};

const OTHERS: [&str; 4] = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "benches/README.md"];
const PICTURE_BYTES: usize = 100 << 10;

/// The guide's pages: path from the root, and text.
fn chapters(repository: &Repository) -> Vec<(String, String)> {
    let pages = repository.files.iter().filter(|file| file.starts_with("docs/src/") && file.ends_with(".md"));
    pages.filter(|file| !file.ends_with("SUMMARY.md")).map(|file| (file.clone(), repository.read(file))).collect()
}

fn none(problems: Vec<String>) {
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}

#[test]
fn the_guide_names_only_what_exists() {
    let repository = Repository::open();
    let pages = chapters(&repository);
    assert!(pages.len() > 10, "{} pages", pages.len());
    none(pages.iter().flat_map(|(file, text)| repository.problems(file, text)).collect());
}

#[test]
fn the_other_documents_name_only_what_exists() {
    let repository = Repository::open();
    none(OTHERS.iter().flat_map(|file| repository.problems(file, &repository.read(file))).collect());
}

/// Each chapter begins with the files to open beside it.
#[test]
fn chapters_open_with_their_files() {
    for (file, text) in chapters(&Repository::open()) {
        let opening = text.lines().skip(1).find(|line| !line.is_empty()).unwrap_or("");
        let is_introduction = file.ends_with("introduction.md");
        assert!(is_introduction || opening.starts_with("Open beside this page: ["), "{file} opens with: {opening}");
    }
}

#[test]
fn the_contents_list_every_chapter_once() {
    let repository = Repository::open();
    let summary = "docs/src/SUMMARY.md";
    let links = items(&repository.read(summary)).into_iter().filter_map(|item| match item.kind {
        Kind::Link(target) => Some(beside(summary, &target)),
        _ => None,
    });
    let mut listed: Vec<String> = links.collect();
    listed.sort();
    let there: Vec<String> = chapters(&repository).into_iter().map(|(file, _)| file).collect();
    assert_eq!(listed, there);
}

/// An anchor without a reader is noise in the source.
#[test]
fn every_anchor_is_included_somewhere() {
    let repository = Repository::open();
    let mut included = BTreeSet::new();
    for (file, text) in chapters(&repository) {
        for item in items(&text) {
            if let Kind::Include(include) = item.kind {
                included
                    .insert(include.split_once(':').map(|(path, anchor)| (beside(&file, path), anchor.to_string())));
            }
        }
    }
    let sources = repository.files.iter().filter(|f| f.ends_with(".rs") || f.ends_with(".wgsl"));
    for file in sources.filter(|f| f.starts_with("src/") || f.starts_with("shaders/")) {
        for anchor in repository.anchors(file) {
            assert!(included.contains(&Some((file.clone(), anchor.clone()))), "{file}: no page includes `{anchor}`");
        }
    }
}

/// Figures are small, used, and made by a command that the line below them names.
#[test]
fn pictures_say_how_they_were_made() {
    let repository = Repository::open();
    let mut shown = BTreeSet::new();
    for (file, text) in chapters(&repository) {
        let lines: Vec<&str> = text.lines().collect();
        for (i, line) in lines.iter().enumerate().filter(|(_, line)| line.starts_with("![")) {
            let caption = lines[i + 1..].iter().find(|line| !line.is_empty()).unwrap_or(&"");
            assert!(caption.starts_with("Made by `elbo "), "{file}:{}: {line} is followed by: {caption}", i + 1);
            let target = line.split("](").nth(1).unwrap().trim_end_matches(')');
            shown.insert(beside(&file, target));
        }
    }
    // The README's captions are its own.
    let readme = items(&repository.read("README.md")).into_iter().filter_map(|item| match item.kind {
        Kind::Link(target) if target.ends_with(".png") => Some(target),
        _ => None,
    });
    shown.extend(readme);
    let pictures: BTreeSet<String> =
        repository.files.iter().filter(|file| file.starts_with("docs/src/images/")).cloned().collect();
    assert_eq!(shown, pictures, "pictures shown, then those in the guide's folder");
    for picture in pictures {
        let bytes = std::fs::metadata(concat!(env!("CARGO_MANIFEST_DIR"), "/").to_string() + &picture).unwrap().len();
        assert!(bytes < PICTURE_BYTES as u64, "{picture} has {bytes} bytes");
    }
}

/// The table of the chapter on a training step is the recording.
#[test]
fn the_step_in_the_guide_is_the_recorded_one() {
    let text = Repository::open().read("docs/src/training_step.md");
    let rows = text.lines().filter_map(|line| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let kernel = cells.get(2)?.strip_prefix('`')?.strip_suffix('`')?;
        Some((cells[1].to_string(), kernel.to_string()))
    });
    let recorded = Subject::open("mnist-mlp", None).unwrap().step.steps;
    let recorded: Vec<_> = recorded.iter().map(|step| (step.scope.clone(), step.kernel.name.to_string())).collect();
    assert_eq!(rows.collect::<Vec<_>>(), recorded);
}

/// What the chapter on wgpu says of barriers, by the rule that it gives: one between two uses of a buffer in a pass,
/// unless both read it.
#[test]
fn barriers_are_counted_as_the_guide_has_them() {
    let step = Subject::open("mnist-mlp", None).unwrap().step;
    let mut written = std::collections::HashMap::new();
    let mut replay = || {
        let needs_one = |step: &elbo::program::Step| {
            let uses = step.reads.iter().map(|t| (t.buffer, false)).chain(step.writes.iter().map(|t| (t.buffer, true)));
            let uses: std::collections::HashMap<usize, bool> = uses.collect();
            uses.into_iter().filter(|&(b, write)| written.insert(b, write).is_some_and(|was| was || write)).count() > 0
        };
        step.steps.iter().map(needs_one).filter(|needs| *needs).count()
    };
    let counts = [replay(), replay(), replay()];
    assert_eq!(counts, [19, 28, 28]);
    let text = Repository::open().read("docs/src/wgpu.md");
    let said =
        ["Of the 28 dispatches of `mnist-mlp` 19 need a barrier", "a barrier: all 28", "find the 9 that need no"];
    assert!(said.iter().all(|sentence| text.contains(sentence)), "{said:?}");
}

// ---- The checks themselves

#[test]
fn a_right_page_passes() {
    let page = "# Right\n\n[The file](../../src/kernel.rs), [down there](#also-right) and [there](kernel.md#a-kernel).\n\n\
        `matmul.forward`, `src/kernels/`, `close.rs`, `metrics.csv`, `fc1.weight`, `Recorder::random_site`, `2 * x.y`, \
        `elbo eval RUN --mean`, `elbo lockstep --break adam.forward:sign`, `shaders/<stem>.wgsl`\n\n    elbo train mnist-2d --epochs 2 --seed=3    # a comment\n    \
        cargo test --test kernels\n    a formula = 1\n\n## Also, right?\n\n```rust\n{{#include \
        ../../src/kernels/reparameterise.rs:kernel}}\n```\n\n```toml\nanything = 1\n```\n";
    assert_eq!(Repository::open().problems("docs/src/right.md", page), Vec::<String>::new());
}

#[test]
fn each_mistake_on_a_page_is_found() {
    let repository = Repository::open();
    let mistakes = [
        ("`src/kernels/matmull.rs`", "no file `src/kernels/matmull.rs`"),
        ("`shaders/matmul.wgls`", "no file `shaders/matmul.wgls`"),
        ("`claus.rs`", "no file is called `claus.rs`"),
        ("`matmul.backward_y`", "no kernel is called `matmul.backward_y`"),
        ("`matmull.forward`", "no kernel is called `matmull.forward`"),
        ("<p data-kernel=\"matmul.backward_y\"></p>", "no kernel is called `matmul.backward_y`"),
        ("`Recorder::randem_site`", "src/ has no `randem_site`"),
        ("`elbo trian mnist-2d`", "`elbo` takes no `trian`"),
        ("broken `elbo\ntrian` in two", "`elbo` takes no `trian`"),
        ("`elbo train mnist-3d`", "`elbo train` takes no `mnist-3d`"),
        ("`elbo eval RUN --meen`", "`elbo eval` has no option --meen"),
        ("`elbo eval RUN --see 3`", "`elbo eval` has no option --see"),
        ("`elbo devices mnist-2d`", "`elbo devices` takes no `mnist-2d`"),
        ("`elbo lockstep MODEL --break adam.forward:sing`", "no fault is called `adam.forward:sing`"),
        ("    elbo trian", "takes no `trian`"),
        ("```\nelbo trian\n```", "takes no `trian`"),
        ("    cargo run --release -- trian", "takes no `trian`"),
        ("    cargo test --test kernel", "no test `kernel`"),
        ("    cargo bench --bench kernel", "no bench `kernel`"),
        ("    bash scripts/tests.sh", "no file `scripts/tests.sh`"),
        ("[it](../../src/kernels.rs)", "leads nowhere"),
        ("[it](nowhere.md)", "leads nowhere"),
        ("![it](images/nothing.png)", "leads nowhere"),
        ("[it](kernel.md#a-colonel)", "no heading #a-colonel"),
        ("[it](#here)", "no heading #here"),
        ("```rust\n{{#include ../../src/kernels.rs}}\n```", "no file ../../src/kernels.rs"),
        ("```rust\n{{#include ../../src/kernels/reparameterise.rs:colonel}}\n```", "no anchor `colonel`"),
        ("```rust\n{{#include ../../src/kernel.rs:3:5}}\n```", "use an anchor"),
        ("```rust\nlet x = 1;\n```", "rust is copied"),
        ("```wgsl\n{{#include ../../shaders/fill.wgsl}}\nlet x = 1;\n```", "wgsl is copied"),
    ];
    for (page, expected) in mistakes {
        let problems = repository.problems("docs/src/wrong.md", &format!("# Wrong\n\n{page}\n"));
        assert_eq!(problems.len(), 1, "{page}: {problems:?}");
        assert!(problems[0].starts_with("docs/src/wrong.md:3: ") || page.starts_with("```"), "{problems:?}");
        assert!(problems[0].contains(expected), "{page}: {problems:?}, expected {expected}");
    }
}

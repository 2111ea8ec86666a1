//! A model of sentences as its user meets it: train, go on, write, read, judge, look for neighbours; and what is
//! refused.

use std::fs;
use std::path::Path;

use crate::common::gpu;
use crate::common::process::{elbo, fails_with as fails, json_with as json, succeeds_with as succeeds};
use elbo::backend::Device;
use elbo::backend::cpu::Cpu;
use elbo::backend::gpu::Options;
use elbo::inference::Trained;
use elbo::inference::sentences::Writing;

/// A folder with 60 short lines to train on and 20 to test on.
fn desk() -> tempfile::TempDir {
    let desk = tempfile::tempdir().unwrap();
    let [who, does, what] = [
        &["the cat", "the dog", "tom", "a bird", "she"][..],
        &["sees", "likes", "has", "eats"],
        &["a fish .", "the red apple .", "it .", "a small green tree in the garden ."],
    ];
    let line = |n: usize| format!("{} {} {}\n", who[n % 5], does[n / 5 % 4], what[n / 3 % 4]);
    fs::create_dir(desk.path().join("data")).unwrap();
    fs::write(desk.path().join("data/train.txt"), (0..60).map(line).collect::<String>()).unwrap();
    fs::write(desk.path().join("data/test.txt"), (7..27).map(line).collect::<String>()).unwrap();
    desk
}

const TRAIN: &str = "train text-vae --data data --hidden 16 --latent 4 --set embedding=8 --min-count 1 --longest 12 \
                     --batch-size 10 --lr 1e-2 --device cpu";

#[test]
fn a_model_trains_goes_on_and_answers_every_command() {
    let desk = desk();
    let here = desk.path();
    let output = elbo(here, &format!("{TRAIN} --epochs 2 --out whole")).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && told.contains("nats a sentence") && !told.contains("nats a picture"), "{told}");
    succeeds(here, &format!("{TRAIN} --epochs 1 --out parts"), &[]);
    succeeds(here, "train --resume parts --epochs 2", &[]);
    succeeds(here, &format!("{TRAIN} --epochs 2 --out again"), &[]);
    for (folder, file) in
        [("parts", "model.safetensors"), ("parts", "state.safetensors"), ("again", "model.safetensors")]
    {
        assert!(fs::read(here.join("whole").join(file)).unwrap() == fs::read(here.join(folder).join(file)).unwrap());
    }

    writes(here);
    let evaluated = json(here, "eval whole --device cpu --json", &[]);
    let of = |name: &str| evaluated[name].as_f64().unwrap();
    assert!((of("perplexity") - ((of("test_recon") + of("test_kl")) / of("test_words")).exp()).abs() < 1e-6);
    assert!(of("nats") > 0.0 && of("words_a_sentence") > 4.0 && evaluated["is_bound"] == true, "{evaluated}");
    let told = succeeds(here, "eval whole --device cpu --latent-report --nll 20", &[]);
    let words = ["20 test sentences", "perplexity", "words a sentence", "samples a sentence", "dimensions are active"];
    assert!(words.iter().all(|word| told.contains(word)), "{told}");
    assert_eq!(told.contains("collapsed"), of("test_kl") < 0.1, "{told}");

    let encoded = succeeds(here, "encode whole --device cpu --limit 5", &[]);
    assert!(encoded.contains("5 test sentences"), "{encoded}");
    let table = fs::read_to_string(here.join("whole/latents.csv")).unwrap();
    assert!(
        table.starts_with("sentence,mean_0,") && table.lines().count() == 6 && table.contains("likes it"),
        "{table}"
    );
    assert!(here.join("whole/latents.npy").exists());

    let scored = json(here, "score whole --device cpu --json", &["The cat sees it.", "tom zebra it ."]);
    let rows = scored["rows"].as_array().unwrap();
    assert_eq!((&rows[0]["sentence"], &rows[0]["words"]), (&"the cat sees it .".into(), &6.into()));
    assert_eq!(rows[1]["sentence"], "tom <unk> it .");
    assert!(rows.iter().all(|row| {
        let [nats, a_word] = ["nats", "nats_a_word"].map(|name| row[name].as_f64().unwrap());
        nats > 0.0 && (nats - a_word * row["words"].as_f64().unwrap()).abs() < 1e-9
    }));
    assert!(!here.join("whole/scores.csv").exists());
    let told = succeeds(here, "score whole data/test.txt --device cpu --by bound", &[]);
    assert!(told.contains("20 sentences, bound") && told.contains("the largest a word"), "{told}");
    assert_eq!(fs::read_to_string(here.join("whole/scores.csv")).unwrap().lines().count(), 21);

    let found = json(here, "nearest whole --device cpu --count 3 --json", &["she likes the red apple ."]);
    let nearest = found["nearest"].as_array().unwrap();
    let distances: Vec<f64> = nearest.iter().map(|row| row["distance"].as_f64().unwrap()).collect();
    assert!(distances.len() == 3 && distances.is_sorted(), "{found}");
    let itself = nearest[0]["sentence"].as_str().unwrap();
    let found = succeeds(here, "nearest whole --device cpu --count 1", &[itself]);
    assert!(found.contains("0.0000") && found.ends_with(&format!("{itself}\n")), "{found}");

    refuses(here);
}

/// The commands that print sentences.
fn writes(here: &Path) {
    let sample = |rest: &str| succeeds(here, &format!("sample whole --device cpu --count 7 {rest}"), &[]);
    let drawn = sample("--seed 3");
    assert_eq!((drawn.lines().count(), &drawn), (7, &sample("--seed 3")));
    assert_ne!(drawn, sample("--seed 4"));
    for rest in ["--greedy", "--beam 3", "--top-k 2 --temperature 0.5"] {
        assert_eq!(sample(rest).lines().count(), 7);
    }
    assert_eq!(sample("--beam 1"), sample("--greedy"));
    assert_eq!(sample("--top-k 1"), sample("--greedy"));
    let symbols = ["<pad>", "<bos>", "<eos>", "<unk>"];
    let wild = sample("--temperature 50");
    assert!(!symbols.iter().any(|symbol| wild.contains(symbol)) && wild.lines().all(|line| !line.is_empty()), "{wild}");
    // Eleven words and the end are the longest.
    assert!(wild.lines().all(|line| line.split(' ').count() <= 11), "{wild}");

    let pairs = succeeds(here, "reconstruct whole --device cpu", &[]);
    assert_eq!(pairs.lines().filter(|line| line.starts_with("  ")).count(), 10, "{pairs}");
    let output = elbo(here, "reconstruct whole --device cpu").arg("A zebra sees it.").output().unwrap();
    let [told, pair] = [output.stderr, output.stdout].map(|text| String::from_utf8(text).unwrap());
    assert!(told.contains("reads as <unk>: zebra") && pair.starts_with("a <unk> sees it .\n  "), "{told}{pair}");

    let way = |rest: &[&str]| succeeds(here, "interpolate whole --device cpu --steps 4", rest);
    let straight = way(&["tom has it .", "she eats a fish ."]);
    assert_eq!(straight.lines().count(), 4, "{straight}");
    let back = way(&["she eats a fish .", "tom has it ."]);
    assert_eq!(straight.lines().next(), back.lines().last());
    let both = way(&["tom has it .", "she eats a fish .", "--method", "both", "--beam", "2"]);
    assert_eq!(both.lines().count(), 9, "{both}");
}

/// Bad input, and commands that are for other models.
fn refuses(here: &Path) {
    let longer = ["a bird "; 6].concat();
    for args in ["reconstruct whole --device cpu", "score whole --device cpu", "nearest whole --device cpu"] {
        fails(here, args, &[" "], &["has no word"]);
        fails(here, args, &[&longer], &["13 tokens", "longest sentence 12"]);
    }
    fails(here, "interpolate whole --device cpu", &["tom has it ."], &["between two sentences", "1 are given"]);
    fails(here, "interpolate whole --device cpu", &["tom has it .", ""], &["has no word"]);
    for flag in ["--rows 2", "--columns 2", "--scale 3", "--out a.png", "--npy a.npy", "--label 1", "--pseudo-inputs"] {
        fails(here, &format!("sample whole --device cpu {flag}"), &[], &["is for pictures", "sentences of up to 12"]);
    }
    fails(here, "reconstruct whole --device cpu --scale 2", &[], &["--scale is for pictures"]);
    fails(here, "interpolate whole --device cpu --from 2", &[], &["--from is for pictures"]);
    fails(here, "score whole --device cpu --threshold 2", &[], &["--threshold is for"]);
    fails(here, "score whole --device cpu --by error", &[], &["cannot be scored by error"]);
    fails(here, "sample whole --device cpu --temperature 0", &[], &["--temperature is 0", "--greedy"]);
    fails(here, "sample whole --device cpu --top-k 0", &[], &["--top-k is 0"]);
    fails(here, "sample whole --device cpu --beam 0", &[], &["--beam is 0"]);
    fails(here, "sample whole --device cpu --count 0", &[], &["--count is 0"]);
    fails(here, "reconstruct whole --device cpu --count 21", &[], &["20 test sentences"]);
    for command in ["traverse whole", "manifold whole", "decode whole a.npy"] {
        fails(here, &format!("{command} --device cpu"), &[], &["kind sentence cannot decode"]);
    }
    fails(here, "denoise whole --device cpu", &[], &["kind sentence cannot denoise"]);
    fails(here, "classify whole --device cpu", &[], &["kind sentence cannot"]);
    fails(here, "recommend whole --device cpu --items 1", &[], &["kind sentence cannot recommend"]);
    fails(here, "animate whole", &[], &["holds no samples"]);

    let train = "train mnist-mlp --device cpu --dataset digits --train-limit 40 --test-limit 10 --hidden 8 --latent 2 \
                 --epochs 1 --out pictures";
    succeeds(here, train, &[]);
    for flag in ["--count 3", "--top-k 3", "--beam 3", "--greedy"] {
        fails(here, &format!("sample pictures --device cpu {flag}"), &[], &["is for sentences", "pictures of 1x"]);
    }
    fails(here, "reconstruct pictures --device cpu", &["tom has it ."], &["SENTENCE is for sentences"]);
    fails(here, "interpolate pictures --device cpu --beam 2", &[], &["--beam is for sentences"]);
    fails(here, "nearest pictures --device cpu", &["tom has it ."], &["a model of sentences", "pictures of 1x"]);
}

#[test]
fn a_model_file_alone_knows_its_words() {
    let desk = desk();
    let here = desk.path();
    succeeds(here, &format!("{TRAIN} --epochs 1 --out run"), &[]);
    let written = succeeds(here, "sample run --device cpu --seed 5", &[]);
    let alone = tempfile::tempdir().unwrap();
    fs::copy(here.join("run/model.safetensors"), alone.path().join("alone.safetensors")).unwrap();
    assert_eq!(succeeds(alone.path(), "sample alone.safetensors --device cpu --seed 5", &[]), written);
    fs::write(alone.path().join("other.txt"), "tom likes a violet fish .\n").unwrap();
    let read = "reconstruct alone.safetensors --device cpu --dataset text --data other.txt";
    assert!(succeeds(alone.path(), read, &[]).starts_with("tom likes a <unk> fish .\n  "));
}

/// A sentence does not hang on those beside it, and the beam finds none that is less probable than the greedy one.
#[test]
fn sentences_are_written_each_by_itself() {
    let desk = desk();
    let here = desk.path();
    succeeds(here, &format!("{TRAIN} --epochs 3 --out run"), &[]);
    for device in [Device::Cpu(Cpu::Accelerated), Device::Cpu(Cpu::Reference)] {
        let mut model = Trained::open(&here.join("run"), &device).unwrap();
        let z: Vec<f32> = (0..24).map(|i| (i as f32 * 1.7).sin() * 2.0).collect();
        let drawn = Writing::Sampled { temperature: 1.0, top_k: None, seed: 2 };
        for writing in [Writing::Greedy, drawn, Writing::Beam(3)] {
            let all = model.write(&z, writing).unwrap();
            assert_eq!(model.write(&z[..8], writing).unwrap(), all[..2]);
        }
        let [greedy, beam] = [Writing::Greedy, Writing::Beam(20)].map(|writing| {
            let written = model.write(&z, writing).unwrap();
            let read = model.read_lines(&written).unwrap();
            model.view("likelihood", &[("text", &read.values(0..6)), ("z", &z)], 0).unwrap().remove(0)
        });
        assert!(greedy.iter().zip(&beam).all(|(greedy, beam)| *beam <= greedy + 1e-3), "{greedy:?} {beam:?}");
    }
}

#[test]
fn a_gpu_trains_and_writes_too() {
    if gpu(Options::default()).is_none() {
        return;
    }
    let desk = desk();
    let here = desk.path();
    let train = TRAIN.replace("--device cpu", "--device gpu --no-tune");
    succeeds(here, &format!("{train} --epochs 1 --out run"), &[]);
    assert_eq!(succeeds(here, "sample run --device gpu --count 3", &[]).lines().count(), 3);
    let nats = |device: &str| {
        let scored = json(here, &format!("score run --device {device} --json"), &["tom has it .", "a bird eats ."]);
        let rows = scored["rows"].as_array().unwrap().clone();
        rows.into_iter().map(|row| row["nats"].as_f64().unwrap()).collect::<Vec<_>>()
    };
    assert!(nats("gpu").iter().zip(nats("cpu")).all(|(gpu, cpu)| (gpu - cpu).abs() < 1e-3 * cpu));
    let nll = |device: &str| {
        let evaluated = json(here, &format!("eval run --device {device} --nll 10 --json"), &[]);
        evaluated["nll"]["nats"].as_f64().unwrap()
    };
    let [of_gpu, of_cpu] = ["gpu", "cpu"].map(nll);
    assert!((of_gpu - of_cpu).abs() < 1e-3 * of_cpu, "{of_gpu} {of_cpu}");
}

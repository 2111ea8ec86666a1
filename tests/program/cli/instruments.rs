//! Devices and the commands that look at kernels and steps: ladder, check, lockstep, kernels, tune, plan, profile.

use std::fs;
use std::path::Path;

use super::desk::{Desk, json, text_of};

#[test]
fn an_unknown_device_is_answered_with_the_list() {
    let desk = Desk::new();
    desk.fails(
        "train --device vodoo2 --dataset mnist --data data",
        &["no device matches 'vodoo2'", "cpu (always there)"],
    );
}

#[test]
fn devices_marks_one_as_auto() {
    let output = Desk::empty().run("devices --json");
    assert_eq!(output.status.code(), Some(0));
    let list: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(list.iter().filter(|device| device["auto"] == true).count(), 1, "{list:?}");
    assert!(list.iter().any(|device| device["name"] == "cpu"));
    let lines = text_of(&Desk::empty().run("devices").stdout);
    assert_eq!(lines.matches("<- auto").count(), 1, "{lines}");
}

#[test]
fn a_ladder_is_climbed_in_json_and_bars() {
    let desk = Desk::empty();
    let output = desk.run("ladder reduce --json --size 1001 --device cpu --chart bars/reduce.png");
    assert_eq!(output.status.code(), Some(0), "{}", text_of(&output.stderr));
    let climbs: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let climb = &climbs[0];
    assert_eq!(
        (climbs.as_array().unwrap().len(), &climb["ladder"], &climb["unit"]),
        (1, &"reduce".into(), &"GB/s".into())
    );
    assert_eq!((&climb["size"], &climb["flops"]), (&serde_json::json!([1001]), &1001.into()));
    let rung = climb["rungs"].as_array().unwrap().last().unwrap();
    assert_eq!((&rung["kernels"][0], &rung["status"]), (&"reduce.rows".into(), &"timed".into()));
    let [ms, rate, share, peak] =
        [&rung["ms"], &rung["rate"], &rung["share_of_peak"], &climb["peak"]].map(|v| v.as_f64().unwrap());
    let close = |a: f64, b: f64| a > 0.0 && (a - b).abs() < 1e-6 * b;
    assert!(close(rate, 4004.0 / (ms * 1e6)) && close(share, rate / peak), "{rung} {peak}");
    assert_eq!(image::open(desk.path("bars/reduce.png")).unwrap().width(), 900);
}

#[test]
fn ladders_that_are_none_are_answered_with_what_there_is() {
    let desk = Desk::empty();
    desk.fails("ladder matmull", &["no ladder is called `matmull`", "did you mean `matmul`?", "conv2d"]);
    desk.fails("ladder matmul --size 12,13", &["M,K,N", "3 numbers are needed and 2 given"]);
    desk.fails("ladder conv2d --size 1,3,4,4,5,1,0", &["B,H,I,O,K,stride,padding", "does not fit"]);
    desk.fails("ladder reduce --size 0", &["N is 0"]);
    desk.fails("ladder reduce --device vodoo2", &["no device matches 'vodoo2'"]);
    desk.fails("ladder reduce --chart bars.bmp --device cpu", &["bars.bmp", ".png, .jpg or .jpeg"]);
    desk.fails_with(2, "ladder --size 5", &[]);
}

#[test]
fn check_prints_a_table_and_json_of_one_kernel() {
    let desk = Desk::empty();
    let output = desk.run("check adam.forward --device cpu");
    let table = text_of(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{table}");
    assert!(table.starts_with(concat!("elbo ", env!("CARGO_PKG_VERSION"), ", wgpu 30, ")), "{table}");
    let line = table.lines().find(|line| line.starts_with("adam.forward ")).unwrap_or_else(|| panic!("{table}"));
    assert!(line.contains(" ok ") && line.contains("absolute p["), "{line}");
    assert!(table.contains("6 comparisons, all within their tolerances"), "{table}");

    let output = desk.run("check matmul --device cpu --json");
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(json["passed"] == true && json["devices"][0]["device"]["name"] == "cpu", "{json}");
    let kernels = json["devices"][0]["kernels"].as_array().unwrap();
    let names: Vec<_> = kernels.iter().map(|k| k["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["matmul.forward", "matmul.backward_x", "matmul.backward_w"]);
    assert!(kernels.iter().all(|k| k["failed"] == 0 && k["relative"]["case"].is_string()), "{json}");
    assert!(!json["devices"][0]["gradients"].as_array().unwrap().is_empty(), "{json}");
}

#[test]
fn check_takes_a_model_and_names_the_nearest() {
    let desk = Desk::empty();
    let output = desk.run("check mnist-2d --batch-size 2 --device cpu --json");
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let step = json["devices"][0]["step"].as_array().unwrap();
    let adam = step.iter().find(|k| k["name"] == "adam.forward").unwrap();
    assert!(adam["cases"] == 1 && adam["failed"] == 0 && adam["elements"].as_u64() > Some(300_000), "{adam}");
    desk.fails("check adam.forwrad", &["did you mean `adam.forward`?"]);
    desk.fails("check mnist-mpl", &["did you mean `mnist-mlp`?"]);
    desk.fails("check adam --device nonesuch", &["no device matches 'nonesuch'"]);
}

#[test]
fn lockstep_agrees_and_a_broken_kernel_fails() {
    let desk = Desk::empty();
    let output = desk.run("lockstep mnist-mlp --batch-size 2 --device cpu --all");
    let table = text_of(&output.stdout);
    assert!(output.status.success() && table.contains("dispatches agree"), "{table}");
    assert!(table.contains("matmul.backward_w") && table.contains("fc1.weight.grad"), "{table}");

    let broken = "lockstep mnist-mlp --batch-size 2 --device cpu --break adam.forward:no_correction";
    desk.fails_with(1, broken, &["noticed by cases, lockstep"]);
    let output = desk.run(&format!("{broken} --json"));
    assert_eq!(output.status.code(), Some(1));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(json["first_difference"].as_str().unwrap().contains("adam.forward in optimizer"), "{json}");
    let noticed: Vec<_> = json["instruments"].as_array().unwrap().iter().map(|i| &i["noticed"]).collect();
    assert_eq!(noticed, [&serde_json::json!(true), &serde_json::Value::Null, &serde_json::json!(true)]);

    desk.fails("lockstep mnist-mlp --break adam.forwad", &["did you mean `adam.forward`?"]);
    desk.fails("lockstep mnist-mpl", &["did you mean `mnist-mlp`?"]);
    let output = desk.run("lockstep --faults");
    assert!(output.status.success() && text_of(&output.stdout).contains("adam.forward:no_correction"));
}

#[test]
fn kernels_lists_each_with_its_files() {
    let desk = Desk::empty();
    let list = json(&desk.run("kernels --json"));
    let list = list.as_array().unwrap();
    let text = text_of(&desk.run("kernels").stdout);
    assert_eq!(list.len(), elbo::kernels::ALL.len());
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (entry, kernel) in list.iter().zip(elbo::kernels::ALL) {
        assert_eq!(entry["name"], kernel.name);
        assert_eq!(entry["cases"], (kernel.cases)().len());
        assert!(text.contains(&format!("{}: {}\n", kernel.name, kernel.formula)), "{}", kernel.name);
        for file in [&entry["shader"], &entry["software"], &entry["reference"]].into_iter().filter(|f| !f.is_null()) {
            assert!(root.join(file.as_str().unwrap()).is_file(), "{file}");
        }
    }
    let matmul = json(&desk.run("kernels matmul --json"));
    assert_eq!(matmul.as_array().unwrap().len(), 3);
    assert_eq!(matmul[2]["name"], "matmul.backward_w");
    assert_eq!(matmul[2]["writes"][0], serde_json::json!({ "name": "dw", "shape": "(O,I)" }));
    let candidates = matmul[0]["candidates"].as_array().unwrap();
    assert!(candidates[0] == "64x64" && candidates.contains(&"32x32 in 4 deep".into()), "{candidates:?}");
    desk.fails("kernels mattmul", &["mattmul", "did you mean `matmul`?"]);
}

#[test]
fn kernels_show_prints_the_code_that_runs() {
    let desk = Desk::empty();
    let show = |args: &str| {
        let output = desk.run(&format!("kernels show {args}"));
        assert_eq!(output.status.code(), Some(0), "{}", text_of(&output.stderr));
        text_of(&output.stdout)
    };
    let wgsl = show("conv2d.backward_w");
    assert!(wgsl.starts_with("// conv2d.backward_w: entry point backward_w of shaders/conv2d_any.wgsl, "), "{wgsl}");
    assert!(wgsl.trim_end().ends_with(elbo::kernels::conv2d::BACKWARD_W.shader.source.full_text().trim_end()));
    // Each part says where it is from.
    for part in ["conv2d_any.wgsl", "conv2d.wgsl", "common/product.wgsl", "common/index.wgsl"] {
        assert_eq!(wgsl.matches(&format!("\n// ---- shaders/{part}\n")).count(), 1, "{part}: {wgsl}");
    }
    let software = show("matmul.forward --form software");
    assert!(software.contains("shaders/software/matmul.wgsl") && software.contains("fn add_term("), "{software}");
    let output = desk.command("kernels show matmul.forward --candidate").arg("32x32 in 4 deep").output().unwrap();
    let tile = text_of(&output.stdout);
    assert!(tile.contains("const ROWS = 32u;") && tile.trim_end().ends_with("const GAP = 0u;"), "{tile}");
    desk.fails("kernels show matmul.forward --candidate 64x63", &["no candidate `64x63`; did you mean `64x64`?"]);
    assert!(show("conv2d.backward_w --as spirv").contains("OpEntryPoint GLCompute"));
    assert!(show("conv2d.backward_w --as msl").contains("#include <metal_stdlib>"));
    assert!(show("conv2d.backward_w --as hlsl").contains("[numthreads(16, 16, 1)]"));
    show("fill.forward --as spirv --out fill.spv");
    assert_eq!(desk.read("fill.spv")[..4], 0x0723_0203u32.to_le_bytes());

    desk.fails("kernels show conv2d.bakward_w", &["did you mean `conv2d.backward_w`?"]);
    desk.fails("kernels show conv2d", &["several kernels", "conv2d.fold"]);
    desk.fails("kernels show fill.forward --form software", &["fill.forward has no software form"]);
}

/// What there is on an adapter, tests/program/tuning.rs has.
#[test]
fn the_cpu_device_has_nothing_to_tune() {
    let desk = Desk::empty();
    let stdout = text_of(&desk.run("tune mnist-mlp --device cpu").stdout);
    assert!(stdout.contains("one form of each kernel: there is nothing to tune"), "{stdout}");
    let tuned = json(&desk.run("tune mnist-2d mnist-mlp --device cpu --json"));
    assert_eq!((&tuned["shapes"], &tuned["cache"]), (&serde_json::json!([]), &serde_json::Value::Null));
    assert_eq!(tuned["models"], serde_json::json!(["mnist-2d", "mnist-mlp"]));
    assert!(!desk.path("cache").exists());
    desk.fails("tune mnist-mpl", &["did you mean `mnist-mlp`?"]);
    desk.fails("tune --batch-size 0", &["--batch-size is 0"]);
}

#[test]
fn plan_prints_a_step_and_its_memory() {
    let desk = Desk::empty();
    let output = desk.run("plan mnist-mlp --batch-size 6 --device cpu --no-fuse --json");
    let plan = &json(&output)["plan"];
    let dispatches = plan["dispatches"].as_array().unwrap();
    assert_eq!(dispatches[2]["kernel"], "matmul.forward");
    assert_eq!(dispatches[2]["reads"][0], serde_json::json!({ "name": "batch.x", "shape": [6, 784] }));
    assert_eq!(plan["problems"], serde_json::json!([]));
    let text = text_of(&desk.run("plan mnist-mlp --batch-size 6 --device cpu").stdout);
    assert!(text.starts_with("mnist-mlp, train step of 6: 8 dispatches"), "{text}");
    for line in [
        "batch.x (6,784), fc1.weight (400,784), fc1.bias (400) -> fc1.y (6,400)",
        "every buffer fits",
        "fc1.weight.grad",
    ] {
        assert!(text.contains(line), "no {line:?} in {text}");
    }
    assert_eq!(fs::read_dir(desk.folder.path()).unwrap().count(), 0, "a plan writes nothing");
    desk.fails("plan mnist-mpl", &["did you mean `mnist-mlp`?"]);
    desk.fails("plan mnist-mlp --batch-size 0", &["--batch-size"]);
    desk.fails("plan mnist-mlp --device nothing-like-it", &["no device matches 'nothing-like-it'"]);
}

#[test]
fn profile_prints_a_table_and_writes_a_trace_and_a_picture() {
    let desk = Desk::empty();
    let output = desk.run("profile mnist-mlp --batch-size 8 --device cpu");
    let text = text_of(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{}", text_of(&output.stderr));
    for part in ["peak, measured just now", "fused_update.adam", "its floor", "wrote profiles/mnist-mlp-cpu/trace.json"]
    {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
    // The CPU device has no other clock, so there is nothing to warn of.
    assert!(text.contains("by the host's clock") && !text.contains("WALL CLOCK"), "{text}");
    let trace: serde_json::Value = serde_json::from_slice(&desk.read("profiles/mnist-mlp-cpu/trace.json")).unwrap();
    assert!(trace["traceEvents"].as_array().unwrap().len() > 8);
    let picture = image::open(desk.path("profiles/mnist-mlp-cpu/roofline.png")).unwrap();
    assert_eq!((picture.width(), picture.height()), (1000, 640));

    let profile = json(&desk.run("profile mnist-mlp --batch-size 8 --device cpu --out here --json"));
    assert_eq!(profile["profile"]["clock"], "wall");
    assert_eq!(profile["profile"]["dispatches"].as_array().unwrap().len(), 8);
    assert!(desk.path("here/trace.json").is_file() && desk.path("here/roofline.png").is_file());
}

//! Makes the program find PyTorch's libraries where they are, and load the one for CUDA, which nothing names.

fn main() {
    let folder = std::env::var("DEP_TCH_LIBTORCH_LIB").expect("torch-sys says where libtorch is");
    println!("cargo:rustc-link-arg=-Wl,-rpath,{folder}");
    if std::path::Path::new(&folder).join("libtorch_cuda.so").exists() {
        println!("cargo:rustc-link-arg=-L{folder}");
        println!("cargo:rustc-link-arg=-Wl,--no-as-needed,-ltorch_cuda,--as-needed");
    }
}

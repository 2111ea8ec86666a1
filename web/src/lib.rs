//! elbo in a browser's tab: the same recorded steps and the same shaders, through WebGPU or on the CPU device.
//!
//! What crosses the border to JavaScript is JSON, and arrays of numbers. Everything here is asked by one worker, one
//! question after the other.

mod catalogue;
mod described;
mod device;
mod engine;
mod inspect;
mod pictures;

use std::fmt::Display;
use std::sync::Mutex;

use wasm_bindgen::prelude::*;

/// What the last panic said: with it the program is over, and the page says why.
static LAST_WORDS: Mutex<Option<String>> = Mutex::new(None);

#[wasm_bindgen(start)]
fn start() {
    std::panic::set_hook(Box::new(|panic| {
        if let Ok(mut words) = LAST_WORDS.lock() {
            words.get_or_insert(panic.to_string());
        }
    }));
}

/// What ended the program, where anything did.
#[wasm_bindgen]
pub fn last_words() -> Option<String> {
    LAST_WORDS.lock().ok().and_then(|words| words.clone())
}

/// An error as a sentence for the page.
fn told(error: impl Display) -> JsError {
    JsError::new(&error.to_string())
}

/// A JavaScript object of these fields.
fn object(fields: &[(&str, JsValue)]) -> JsValue {
    let object = js_sys::Object::new();
    for (name, value) in fields {
        js_sys::Reflect::set(&object, &(*name).into(), value).expect("a new object takes any field");
    }
    object.into()
}

/// Numbers as a Float32Array.
fn floats(values: &[f32]) -> JsValue {
    js_sys::Float32Array::from(values).into()
}

/// Bytes as a Uint8Array.
fn bytes(values: &[u8]) -> JsValue {
    js_sys::Uint8Array::from(values).into()
}

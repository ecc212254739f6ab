//! Loads libtorch's CUDA part when it is there. The only file with `unsafe` code.
#![expect(unsafe_code, reason = "loading a shared library runs its initialisers")]

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};

/// Loads `libtorch_cuda.so` into the process, where it registers its kernels.
///
/// The worker is linked with the CPU part only, so that one binary serves machines with and without CUDA.
///
/// # Errors
/// The loader's reason, when the library is not there.
pub fn load() -> Result<(), String> {
    // SAFETY: the initialisers of libtorch_cuda register kernels with libtorch, which is already loaded, and no other
    // thread runs yet.
    let library = unsafe { Library::open(Some("libtorch_cuda.so"), RTLD_NOW | RTLD_GLOBAL) };
    match library {
        Ok(library) => {
            // It stays for the life of the process.
            std::mem::forget(library);
            Ok(())
        }
        Err(error) => Err(error.to_string()),
    }
}

//! The program as its user meets it: files, exit codes, messages. All on the CPU device, in folders of their own.

mod data_files;
mod desk;
mod endings;
mod instruments;
mod own_pictures;
mod run_folder;
mod settings;

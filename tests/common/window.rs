//! The application in a window that is drawn in memory, driven by the names of its controls.

// Every test file compiles this on its own and uses a part of it.
#![allow(dead_code)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use egui::Role;
use egui_kittest::kittest::{NodeT, Queryable};
use egui_kittest::{Harness, Node};
use odyssey::gui::App;
use odyssey::gui::settings::Settings;

use crate::cli::Place;

/// An application in a window that holds the whole of every page.
pub struct Window(pub Harness<'static, Option<App>>);

impl Window {
    pub fn open(data: &Path) -> Self {
        Self::sized(data, [1100.0, 2400.0])
    }

    pub fn sized(data: &Path, size: [f32; 2]) -> Self {
        let data = data.to_owned();
        let draw = move |ui: &mut egui::Ui, app: &mut Option<App>| {
            let settings = Settings { device: "cpu".into(), ..Settings::default() };
            app.get_or_insert_with(|| App::new(ui.ctx(), settings, Vec::new(), data.clone())).draw(ui);
        };
        let builder = Harness::builder().with_size(size).wgpu();
        Self(builder.build_ui_state(draw, None))
    }

    /// Draws frames until `seen` finds what it looks for.
    pub fn until<T>(&mut self, what: &str, seen: impl Fn(&Harness<'static, Option<App>>) -> Option<T>) -> T {
        let started = Instant::now();
        loop {
            self.0.step();
            if let Some(found) = seen(&self.0) {
                return found;
            }
            assert!(started.elapsed() < Duration::from_secs(300), "no {what}; there is:\n{}", self.texts().join("\n"));
            sleep(Duration::from_millis(15));
        }
    }

    pub fn texts(&self) -> Vec<String> {
        fn collect(node: Node<'_>, into: &mut Vec<String>) {
            let own = node.accesskit_node();
            into.extend(own.label().or(own.value()));
            node.children().for_each(|child| collect(child, into));
        }
        let mut texts = Vec::new();
        collect(self.0.root(), &mut texts);
        texts
    }

    /// The first text that contains `part`, once there is one.
    pub fn says(&mut self, part: &str) -> String {
        let find = |harness: &Harness<'static, Option<App>>| {
            let found = harness.query_all_by_label_contains(part).next();
            found.and_then(|node| node.accesskit_node().label().or(node.accesskit_node().value()))
        };
        self.until(part, find)
    }

    /// Presses what is called `name` once it can be pressed.
    pub fn press(&mut self, role: Role, name: &str) {
        self.until(name, |harness| {
            let mut nodes = harness.query_all_by_role(role);
            let node = nodes.find(|node| {
                let node = node.accesskit_node();
                node.label().as_deref() == Some(name) && !node.is_disabled()
            })?;
            node.click();
            Some(())
        });
        self.0.step();
        self.0.step();
    }

    pub fn button(&mut self, name: &str) {
        self.press(Role::Button, name);
    }

    pub fn type_into(&mut self, name: &str, text: &str) {
        self.0.get_by_role_and_label(Role::TextInput, name).focus();
        self.0.step();
        self.0.get_by_role_and_label(Role::TextInput, name).type_text(text);
        self.0.step();
    }

    pub fn drop_file(&mut self, path: PathBuf) {
        #[derive(Debug)]
        struct Dropped(PathBuf);
        impl egui::DroppedFile for Dropped {
            fn path(&self) -> &Path {
                &self.0
            }

            fn bytes(&self) -> Result<Vec<u8>, String> {
                Err("only its path is used".into())
            }
        }
        self.0.input_mut().dropped_files.push(Arc::new(Dropped(path)));
        self.0.step();
    }

    /// Makes a study of a file, and lets it run.
    pub fn start(&mut self, file: PathBuf) {
        self.drop_file(file);
        self.says("checking");
        self.says("It can run");
        self.button("Start the study");
    }

    pub fn is_there(&self, name: &str) -> bool {
        self.0.query_all_by_label_contains(name).next().is_some()
    }

    pub fn top(&self, name: &str) -> f32 {
        self.0.get_by_role_and_label(Role::Button, name).rect().top()
    }

    /// As when the window is closed.
    pub fn close(mut self) {
        let app = self.0.state_mut().as_mut().unwrap();
        eframe::App::on_exit(app, None);
    }
}

/// A study of two languages by words alone, on the CPU.
pub fn study_file(place: &Place, name: &str, model: &str, steps: u64) -> PathBuf {
    let file = format!("{}.toml", name.to_lowercase());
    place.write(
        &file,
        format!(
            r#"
name = "{name}"
devices = ["cpu"]
restart_control = false

[similarity]
features = "lexical"

[[models]]
name = "golden"
path = "{model}"
reference = "languages/base"

[[domains]]
path = "languages/lambda-0"

[[domains]]
path = "languages/lambda-1"

[[strategies]]
name = "full"
recipe = {{ steps = {steps}, batch = 4, lr = 1e-3, validations = 2, valid_tokens = 300 }}
"#
        ),
    );
    place.path(&file)
}

//! Sends a command to the guest's program and prints the answer.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::{Map, Value};

use super::clock;
use crate::guest::control::{Control, Reply};

/// Arguments of `watari tool workload`.
#[derive(Debug, Args)]
pub struct Workload {
    /// Socket of the guest's control port.
    #[arg(long, value_name = "PATH")]
    socket: PathBuf,
    /// Seconds to wait for the answer; a guest that boots answers once it has.
    #[arg(long, default_value_t = 60.0, value_name = "SECONDS")]
    timeout: f64,
    /// The command, such as `hello` or `dirty constant rate=500 set=8192`.
    #[arg(required = true, trailing_var_arg = true)]
    command: Vec<String>,
}

pub(super) fn run(arguments: &Workload) -> anyhow::Result<()> {
    let timeout = Duration::try_from_secs_f64(arguments.timeout)?;
    let mut control = Control::connect(&arguments.socket, timeout)?;
    let reply = control.command(&arguments.command.join(" "), timeout)?;
    Ok(clock::emit(&object(&reply, clock::now_ns()))?)
}

/// The answer as a JSON object; what looks like a number is one.
fn object(reply: &Reply, now_ns: u64) -> Value {
    let mut object = Map::new();
    object.insert("t_ns".to_string(), now_ns.into());
    for (key, text) in reply.fields() {
        let number = text.parse::<u64>().map(Value::from);
        let value = number.unwrap_or_else(|_| Value::from(text.as_str()));
        object.insert(key.clone(), value);
    }
    Value::Object(object)
}

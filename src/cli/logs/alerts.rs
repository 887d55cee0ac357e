//! `logs alerts`: how every alarm stands, whether its messages arrive, and silence for a while.

use bytes::Bytes;
use clap::{Args, Subcommand};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::CommandError;
use super::access::AccessArgs;
use super::escape::Safe;
use super::output::{GREEN, Output, RED, YELLOW, note};
use super::place;
use super::source::runtime;
use super::table::{Cell, Side, Table};
use super::words::{NOTHING, duration, number, text};
use crate::log_service::client::{self, Address, Service};
use crate::units::Duration;

#[derive(Debug, Args)]
pub(super) struct AlertsArgs {
    #[command(subcommand)]
    command: Option<AlertsCommand>,
    /// Print JSON.
    #[arg(long, global = true)]
    pub(super) json: bool,
    /// Which configuration says where the log service is.
    #[arg(skip)]
    pub(super) config: std::path::PathBuf,
    /// Ask this log service: unix:PATH, http://HOST:PORT or https://HOST:PORT.
    #[arg(long, value_name = "ADDRESS", global = true)]
    service: Option<Address>,
    #[command(flatten)]
    access: AccessArgs,
}

#[derive(Debug, Subcommand)]
enum AlertsCommand {
    /// Send a test message to everybody whom an alarm tells.
    Test {
        /// The NAME of [alert.NAME].
        name: String,
    },
    /// Tell nobody of an alarm for a while; it is recorded as before.
    Silence {
        /// The NAME of [alert.NAME].
        name: String,
        /// How long, 30d at most; 0s ends a silence.
        #[arg(long = "for", value_name = "TIME", default_value = "1h")]
        time: Duration,
    },
}

/// The exit code of the list says whether anything fires (0) or not (1), that of a test whether all was sent.
pub(super) fn run(args: &AlertsArgs) -> Result<bool, CommandError> {
    let service = service(args)?;
    match &args.command {
        None => list(args, &ask(&service, "/alerts", false)?),
        Some(AlertsCommand::Test { name }) => {
            let target = format!("/alerts/test?name={}", utf8_percent_encode(name, NON_ALPHANUMERIC));
            tested(args, &ask(&service, &target, true)?)
        }
        Some(AlertsCommand::Silence { name, time }) => {
            let name = utf8_percent_encode(name, NON_ALPHANUMERIC);
            let told = ask(&service, &format!("/alerts/silence?name={name}&for={time}"), true)?;
            silenced(args, &told, *time)
        }
    }
}

fn service(args: &AlertsArgs) -> Result<Service, CommandError> {
    match &args.service {
        Some(address) => args.access.service(address),
        // A running service: only it knows how its alarms stand.
        None => {
            let (address, known) = place::service(&args.config)?;
            args.access.service_of(&address, known)
        }
    }
}

fn ask(service: &Service, target: &str, changes: bool) -> Result<Value, CommandError> {
    let told = runtime()?.block_on(async {
        if changes {
            client::post(service, target, "application/json", Bytes::new()).await
        } else {
            client::answer(service, target, &mut |_, _| {}).await
        }
    });
    Ok(told?)
}

fn list(args: &AlertsArgs, told: &Value) -> Result<bool, CommandError> {
    let mut out = Output::stdout();
    let alerts = told["alerts"].as_array().map(Vec::as_slice).unwrap_or_default();
    let fires = alerts.iter().any(|alert| text(alert, "state") == Some("firing"));
    if args.json {
        out.line(&told.to_string())?;
        out.flush()?;
        return Ok(fires);
    }
    let columns = ["alert", "state", "about", "value", "when", "since", "tells"];
    let mut table =
        Table::new(&columns.map(|name| (name, if name == "value" { Side::Right } else { Side::Left })));
    alerts.iter().for_each(|alert| table.row(row(alert)));
    for line in if alerts.is_empty() { Vec::new() } else { table.lines() } {
        out.line(&line)?;
    }
    out.flush()?;
    if alerts.is_empty() {
        note("there is no alarm: write an [alert.NAME] into the configuration");
    }
    for alert in alerts.iter().filter(|alert| number(alert, "left_out").is_some()) {
        let count = number(alert, "left_out").unwrap_or(0);
        note(&format!(
            "{} more alarms of {} have no room",
            count,
            Safe(text(alert, "alert").unwrap_or(NOTHING))
        ));
    }
    for target in told["targets"].as_array().into_iter().flatten() {
        if let Some(count) = number(target, "waiting").filter(|count| *count > 0) {
            note(&format!("{count} messages wait for {}", Safe(text(target, "name").unwrap_or(NOTHING))));
        }
    }
    Ok(fires)
}

fn row(alert: &Value) -> Vec<Cell> {
    let cell = |name| Cell::from(Safe(text(alert, name).unwrap_or(NOTHING)).to_string());
    let state = text(alert, "state").unwrap_or(NOTHING);
    let style = match state {
        "firing" => RED,
        "pending" => YELLOW,
        _ => GREEN,
    };
    let silent = if alert["silent"] == true { " (silent)" } else { "" };
    let over = duration(number(alert, "over_s").unwrap_or(0).saturating_mul(1_000_000));
    let tells: Vec<&str> =
        alert["notify"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let tells = if tells.is_empty() { NOTHING.to_owned() } else { tells.join(", ") };
    vec![
        cell("alert"),
        Cell::styled(format!("{}{silent}", Safe(state)), style),
        cell("key"),
        cell("value_text"),
        format!("{} over {over}", Safe(text(alert, "when").unwrap_or(NOTHING))).into(),
        cell("since"),
        Safe(&tells).to_string().into(),
    ]
}

fn tested(args: &AlertsArgs, told: &Value) -> Result<bool, CommandError> {
    let mut out = Output::stdout();
    let deliveries = told["deliveries"].as_array().map(Vec::as_slice).unwrap_or_default();
    if args.json {
        out.line(&told.to_string())?;
    } else {
        for delivery in deliveries {
            let to = Safe(text(delivery, "to").unwrap_or(NOTHING)).to_string();
            let form = Safe(text(delivery, "form").unwrap_or(NOTHING)).to_string();
            match text(delivery, "err") {
                None => out.line(&format!("{to} ({form}): {GREEN}sent{GREEN:#}"))?,
                Some(why) => out.line(&format!("{to} ({form}): {RED}not sent{RED:#}: {}", Safe(why)))?,
            }
        }
    }
    out.flush()?;
    if deliveries.is_empty() {
        note("this alarm tells nobody: write `notify` into its table");
    }
    Ok(!deliveries.is_empty() && deliveries.iter().all(|delivery| delivery["sent"] == true))
}

fn silenced(args: &AlertsArgs, told: &Value, time: Duration) -> Result<bool, CommandError> {
    let mut out = Output::stdout();
    let name = Safe(text(told, "alert").unwrap_or(NOTHING)).to_string();
    if args.json {
        out.line(&told.to_string())?;
    } else if time.as_millis() == 0 {
        out.line(&format!("{name} is told again"))?;
    } else {
        out.line(&format!(
            "nobody is told of {name} until {}",
            Safe(text(told, "silent_until").unwrap_or(NOTHING))
        ))?;
    }
    out.flush()?;
    Ok(true)
}

//! Makes, lists, publishes, unpublishes and deletes many volumes through a real driver, and reports
//! how the cost of each grows with their number.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use stead_bench::driver::{Driver, connect};
use stead_bench::limit::Limits;
use stead_bench::measure::{Samples, millis};
use stead_bench::report::{CREATE, Cost, DELETE, PUBLISH, Report, Rss};
use stead_bench::workload::{Plan, Workload, is_member};
use stead_bench::{BenchError, Result, leak};
use stead_proto::stead::v1::store_client::StoreClient;

/// Measure what a volume costs while a driver fills with them
#[derive(Debug, Parser)]
#[command(max_term_width = 100)]
struct Options {
    /// How many volumes live at once; every second belongs to a member with a static address
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u16).range(1..=8000))]
    count: u16,

    /// How many calls are under way at once
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..))]
    concurrency: u16,

    /// How many members each service has
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    service_members: u16,

    /// How many volumes are on a page of a listing
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..))]
    page: u16,

    /// The driver [default: `stead` beside this program]
    #[arg(long, env = "STEAD_BIN")]
    driver: Option<PathBuf>,

    /// Where to make the directory for the driver's state; its disk is what is measured
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    dir: PathBuf,

    /// How the result is printed
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Output {
    /// A table, and one line for machines.
    Table,
    /// JSON.
    Json,
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    let interrupted = async {
        let _ = tokio::signal::ctrl_c().await; // Where there is no handler, the signal itself ends us.
        Err(BenchError::Interrupted)
    };
    let result = tokio::select! {
        result = run(&options) => result,
        interrupted = interrupted => interrupted,
    };
    match result.and_then(|report| print(&report, options.output)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {}", error.chain());
            ExitCode::FAILURE
        }
    }
}

fn print(report: &Report, output: Output) -> Result<()> {
    match output {
        Output::Table => println!("{report}"),
        Output::Json => {
            let text = serde_json::to_string_pretty(report)
                .map_err(|error| BenchError::io("write the report", error.into()))?;
            println!("{text}");
        }
    }
    Ok(())
}

fn plan(options: &Options) -> Plan {
    Plan {
        count: options.count.into(),
        concurrency: options.concurrency.into(),
        service_members: options.service_members.into(),
        page: options.page.into(),
        prefix: "bench",
    }
}

async fn run(options: &Options) -> Result<Report> {
    let dir = tempfile::tempdir_in(&options.dir)
        .map_err(|error| BenchError::io(format!("use '{}'", options.dir.display()), error))?;
    let binary = match &options.driver {
        Some(path) => path.clone(),
        None => std::env::current_exe()
            .map_err(|error| BenchError::io("find this program", error))?
            .with_file_name("stead"),
    };
    let driver = Driver::start(&binary, dir.path()).await?;
    match work(options, &driver, dir.path()).await {
        Ok(report) => driver.stop().await.map(|()| report),
        Err(error) => Err(driver.failure(error.chain())),
    }
}

async fn work(options: &Options, driver: &Driver, dir: &Path) -> Result<Report> {
    warm_up(driver, plan(options)).await?;
    let mut limits = Limits::default();
    limits.measure(dir)?;
    let start = driver.memory()?;
    let workload = Workload::new(connect(driver.csi_socket()).await?, plan(options));
    let (create, made) = workload.create().await?;
    limits.measure(dir)?;
    let list = workload.list(&made).await?;
    let publish = workload.publish(&made).await?;
    limits.measure(dir)?;
    let unpublish = workload.unpublish(&made).await?;
    limits.measure(dir)?;
    let delete = workload.delete(&made).await?;
    limits.measure(dir)?;
    let end = driver.memory()?;
    let mut store = StoreClient::new(connect(driver.store_socket()).await?);
    let records_kept = leak::check(&mut store, &driver.pool()).await?;
    let rss = Rss { start_kib: start.rss_kib, peak_kib: end.peak_kib, end_kib: end.rss_kib };
    Ok(report(options, [create, list, publish, unpublish, delete], &limits, rss, records_kept))
}

/// The whole life of a few volumes: connections, caches and the node's first lease are not what is
/// measured.
async fn warm_up(driver: &Driver, plan: Plan) -> Result<()> {
    let plan = Plan { count: 2 * plan.concurrency, prefix: "warm", ..plan };
    let workload = Workload::new(connect(driver.csi_socket()).await?, plan);
    let (_, made) = workload.create().await?;
    workload.wait_for_lease(&made).await?;
    workload.publish(&made).await?;
    workload.unpublish(&made).await?;
    workload.delete(&made).await?;
    eprintln!("     warm");
    Ok(())
}

fn report(
    options: &Options,
    [create, list, publish, unpublish, delete]: [Samples; 5],
    limits: &Limits,
    rss: Rss,
    records_kept: usize,
) -> Report {
    let operations = vec![
        create.line(CREATE),
        create.only(|place| !is_member(place)).line("  plain"),
        create.only(is_member).line("  of a member"),
        list.line("ListVolumes"),
        publish.line(PUBLISH),
        unpublish.line("ControllerUnpublish"),
        delete.line(DELETE),
        delete.only(|place| !is_member(place)).line("  plain"),
        delete.only(is_member).line("  of a member"),
    ];
    let limit = limits.medians();
    let compared = [CREATE, PUBLISH, DELETE];
    let costs = operations.iter().filter(|line| compared.contains(&line.operation.as_str()));
    let listings = list.calls.iter().filter(|(page, _)| *page == 0).count().max(1);
    Report {
        volumes: options.count.into(),
        concurrency: options.concurrency.into(),
        costs: costs.map(|line| Cost::new(line, &limit)).collect(),
        list_ms: millis(list.wall) / listings as f64,
        operations,
        limit,
        rss,
        records_kept,
    }
}

"""The tables that the shared scenes work on."""

from sqlalchemy import Column, Connection, ForeignKey, Integer, MetaData, String, Table, insert
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

metadata = MetaData()
users = Table(
    "users", metadata, Column("id", Integer, primary_key=True), Column("name", String(50))
)


class Base(DeclarativeBase):
    """The ORM's side."""


class Author(Base):
    """Has books, loaded when they are asked for."""

    __tablename__ = "authors"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50))
    books: Mapped[list["Book"]] = relationship(back_populates="author")


class Book(Base):
    """Has a key that the database makes, and a text that is loaded when it is asked for."""

    __tablename__ = "books"
    id: Mapped[int] = mapped_column(primary_key=True)
    author_id: Mapped[int] = mapped_column(ForeignKey("authors.id"))
    title: Mapped[str] = mapped_column(String(50))
    text: Mapped[str] = mapped_column(String(50), default="once", deferred=True)
    author: Mapped[Author] = relationship(back_populates="books")


def add_users(connection: Connection, *names: str) -> None:
    """Add users by their names."""
    connection.execute(insert(users), [{"name": name} for name in names])
